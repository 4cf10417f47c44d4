from pathlib import Path

import pytest

from rewardanything_core.errors import ConfigError, InvalidCaseError
from rewardanything_core.principles import FAMILIES, Principle, library


def test_each_family_has_principles_of_two_to_four_sentences():
    families = [principle.family for principle in library().values()]
    assert {family: families.count(family) >= 4 for family in FAMILIES} == dict.fromkeys(FAMILIES, True)
    for name, principle in library().items():
        assert principle.name == name and principle.source == "library"
        assert principle.text == principle.text.strip() and "\n" not in principle.text, name
        assert 2 <= principle.text.count(". ") + principle.text.endswith(".") <= 4, name


def test_no_name_is_in_two_families():
    import tomllib
    from importlib import resources

    text = resources.files("rewardanything_core").joinpath("prompting", "prompts", "principles.toml").read_text("utf-8")
    tables = tomllib.loads(text)
    assert list(tables) == list(FAMILIES)
    assert sum(len(table) for table in tables.values()) == len(library())


def test_an_unknown_name_lists_the_library():
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
        ("f.md", "\n# C# #\nSay it once.", "Say it once.", "C#"),
        ("g.md", "#hashtag\nSay it once.", "#hashtag\nSay it once.", "g"),
        ("h.md", "#", "#", "h"),
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
def test_principles_are_read_from_files(tmp_path: Path, file: str, content: str, text: str, name: str):
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
def test_an_unreadable_file_is_named_in_the_error(tmp_path: Path, file: str, content: bytes, complaint: str):
    path = tmp_path / file
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        Principle.from_file(path)
    assert complaint in str(caught.value) and str(path) in str(caught.value)


def test_missing_and_empty_files_are_errors(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"gone\.md"):
        Principle.from_file(tmp_path / "gone.md")
    (tmp_path / "empty.md").write_text("# Only a heading\n")
    with pytest.raises(InvalidCaseError, match="empty"):
        Principle.from_file(tmp_path / "empty.md")
    (tmp_path / "number.toml").write_text("text = 5\n")
    with pytest.raises(InvalidCaseError, match="must be a string"):
        Principle.from_file(tmp_path / "number.toml")


def test_a_file_name_that_is_not_utf_8_is_escaped(tmp_path: Path):
    path = tmp_path / "caf\udce9.md"
    try:
        path.write_text("Say it once.")
    except OSError:
        pytest.skip("the file system requires UTF-8 names")
    principle = Principle.from_file(path)
    assert principle.name == "caf\\udce9"
    assert principle.source is not None and principle.source.endswith("caf\\udce9.md")


def test_long_lines_in_a_file_take_linear_time(tmp_path: Path):
    path = tmp_path / "long.md"
    for filler in ("#", " ", "# ", "\t"):
        path.write_text(f"# a{filler * 500_000}")
        assert Principle.from_file(path).name == "long"


@pytest.mark.parametrize("field", ["name", "source", "family"])
def test_every_part_of_a_principle_is_text(field: str):
    for value in (3, "\ud800"):
        with pytest.raises(InvalidCaseError, match=field):
            Principle("Be brief.", **{field: value})


def test_of_accepts_a_string_or_a_principle():
    principle = Principle("Be brief.")
    assert Principle.of(principle) is principle
    assert Principle.of("Be brief.") == principle
    with pytest.raises(InvalidCaseError, match="not int"):
        Principle.of(3)  # type: ignore[arg-type]


def test_a_mapping_is_not_a_list_of_principles():
    with pytest.raises(InvalidCaseError, match="mapping is not a list of principles"):
        Principle.several({"goodness": "Be good."})
