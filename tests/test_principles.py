from pathlib import Path

import pytest

from rewardanything_core.errors import ConfigError, InvalidCaseError
from rewardanything_core.principles import FAMILIES, Principle, library


def test_each_family_has_principles_and_each_says_what_outweighs_what():
    families = [principle.family for principle in library().values()]
    assert {family: families.count(family) >= 4 for family in FAMILIES} == dict.fromkeys(FAMILIES, True)
    for name, principle in library().items():
        assert principle.name == name and principle.source == "library"
        assert principle.text == principle.text.strip() and "\n" not in principle.text, name
        assert 2 <= principle.text.count(". ") + principle.text.endswith(".") <= 4, name


def test_no_name_stands_in_two_families():
    import tomllib
    from importlib import resources

    text = resources.files("rewardanything_core").joinpath("prompts", "principles.toml").read_text("utf-8")
    tables = tomllib.loads(text)
    assert list(tables) == list(FAMILIES)
    assert sum(len(table) for table in tables.values()) == len(library())


def test_named_finds_one_and_otherwise_lists_them_all():
    assert "shortest" in Principle.named("concise").text
    with pytest.raises(ConfigError) as caught:
        Principle.named("consise")
    assert "'consise'" in str(caught.value)
    assert all(name in str(caught.value) for name in library())


@pytest.mark.parametrize(
    ("file", "content", "text", "name"),
    [
        ("a.md", "# Be brief #\n\nSay it once.\n\nThen stop.\n", "Say it once.\n\nThen stop.", "Be brief"),
        ("b.md", "Say it once.\n", "Say it once.", "b"),
        (
            "c.txt",
            "  Erst die Antwort, dann die Gründe. 先に答え。\n",
            "Erst die Antwort, dann die Gründe. 先に答え。",
            "c",
        ),
        ("d.toml", 'text = """\nSay it once.\n"""\nname = "brief"\nfamily = "style"\n', "Say it once.", "brief"),
        ("e.toml", 'text = "Say it once."\n', "Say it once.", "e"),
    ],
)
def test_from_file(tmp_path: Path, file: str, content: str, text: str, name: str):
    path = tmp_path / file
    path.write_text(content, encoding="utf-8")
    principle = Principle.from_file(path)
    assert (principle.text, principle.name, principle.source) == (text, name, str(path))
    assert principle.family == ("style" if file == "d.toml" else None)


@pytest.mark.parametrize(
    ("file", "content", "complaint"),
    [
        ("bad.toml", b"text = ", "not valid TOML"),
        ("none.toml", b'name = "x"', "no key 'text'"),
        ("more.toml", b'text = "x"\ntone = "y"', "unknown keys ['tone']"),
        ("latin.md", b"caf\xe9", "Cannot read"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, file: str, content: bytes, complaint: str):
    path = tmp_path / file
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        Principle.from_file(path)
    assert complaint in str(caught.value) and str(path) in str(caught.value)


def test_a_missing_file_and_an_empty_one(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"gone\.md"):
        Principle.from_file(tmp_path / "gone.md")
    (tmp_path / "empty.md").write_text("# Only a heading\n")
    with pytest.raises(InvalidCaseError, match="empty"):
        Principle.from_file(tmp_path / "empty.md")
    (tmp_path / "number.toml").write_text("text = 5\n")
    with pytest.raises(InvalidCaseError, match="must be a string"):
        Principle.from_file(tmp_path / "number.toml")


def test_of_takes_a_string_or_a_principle_and_nothing_else():
    principle = Principle("Be brief.")
    assert Principle.of(principle) is principle
    assert Principle.of("Be brief.") == principle
    with pytest.raises(InvalidCaseError, match="not int"):
        Principle.of(3)  # type: ignore[arg-type]
