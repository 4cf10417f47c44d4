"""The sheet for people: blind and safe, and what their decisions are worth."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from jurors import LEAST, MOST, jury, prompts

from rewardanything_core import ConfigError
from rewardanything_core.benchmark_building import add_people, build_benchmark, write_benchmark

HOSTILE = ("<script>alert(1)</script>", "</div></article><h1>gone", "=cmd|' /C calc'!A0", "‮evil\rand ümlauts")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.chdir(tmp_path_factory.mktemp("jurors"))
    rows = prompts(16)
    for place, row in enumerate(rows):
        row["responses"] = {
            f"secret/model-{n}": f"{HOSTILE[(n + place) % 4]} {text}"
            for n, text in enumerate(row["responses"].values())
        }
    yield build_benchmark([MOST, LEAST], rows, jury(cache="off"), sheet=20, min_agreement=-1)
    patch.undo()


@pytest.fixture
def folder(built, tmp_path) -> Path:
    write_benchmark(built, tmp_path / "out")
    return tmp_path / "out"


def decisions(folder: Path) -> list[dict[str, str]]:
    """What a person would decide who always agrees with the consensus."""
    key = json.loads((folder / "build.json").read_text())["sheet"]
    return [{"case": each["case"], "better": each["consensus"]} for each in key]


def filled(folder: Path, name: str, rows: list[dict[str, str]]) -> Path:
    path = folder / name
    path.write_text(json.dumps(rows) if name.endswith("json") else "", encoding="utf-8")
    if name.endswith("csv"):
        with path.open("w", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
    return path


def test_the_sheet_is_blind_balanced_and_shows_hostile_texts_as_text(built, folder):
    page, table = (folder / "sheet.html").read_text(), (folder / "sheet.csv").read_text()
    for shown in (page, table):
        assert "secret" not in shown and "sharp" not in shown and built.lists[0].task.row.id not in shown
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page and "</article><h1>gone" not in page
    assert not re.search(r"""(src|href)=|https?://""", page)
    assert page.count('<article class="pair"') == 20
    assert (folder / "sheet.csv").read_bytes().startswith(b"\xef\xbb\xbfcase,"), "Excel needs the mark for umlauts"
    rows = list(csv.DictReader((folder / "sheet.csv").open(newline="", encoding="utf-8-sig")))
    assert [row["case"] for row in rows] == [case.id for case in built.sheet] and not any(row["better"] for row in rows)
    assert not any(cell.startswith("=") for row in rows for cell in row.values())
    principles = [case.principle for case in built.sheet]
    assert principles.count(MOST) == principles.count(LEAST) == 10
    assert len({case.key["list"] for case in built.sheet}) == 20
    assert 3 < sum(case.key["consensus"] == "left" for case in built.sheet) < 17


def test_agreement_and_kappa_of_people_go_to_the_card(folder):
    everything = decisions(folder)
    swap = {"left": "right", "right": "left", "tie": "tie"}
    other = [{**row, "better": swap[row["better"]] if n < 5 else row["better"]} for n, row in enumerate(everything)]
    human = add_people(folder, [filled(folder, "ada.json", everything), filled(folder, "bob.csv", other[:-1])])["human"]
    ada, bob = human["people"]
    assert (ada["person"], ada["decided"], ada["agreement"]["value"], ada["kappa"]["value"]) == ("ada", 20, 1.0, 1.0)
    changed = sum(one != two for one, two in zip(everything[:-1], other[:-1], strict=True))
    assert bob["agreement"]["value"] == pytest.approx((19 - changed) / 19) and bob["kappa"]["value"] < 0.8
    assert ada["agreement"]["low"] < 1 and 0 < human["alpha"] < 1
    assert human["majority"]["agreement"]["value"] == pytest.approx((20 - changed) / 20)  # a tie of votes is a tie
    card = (folder / "card.md").read_text()
    assert "**People agree with" in card and "| ada | 20 | 1.00 (" in card and "Krippendorff's alpha" in card


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("a.json", {"case": "case-0"}, "the benchmark's sheet has no case 'case-0'"),
        ("a.json", {"better": "both"}, "'better' must be left, tie, right or empty, not 'both'"),
        ("a.csv", {"better": ""}, "Nothing is filled in"),
        ("a.csv", {"case": ""}, "row 2 has no 'case', only 'better'"),
        ("a.xlsx", {}, "Save a spreadsheet as 'CSV UTF-8'"),
    ],
)
def test_a_sheet_that_cannot_be_used_is_refused(folder, name, change, message):
    with pytest.raises(ConfigError, match=message):
        add_people(folder, [filled(folder, name, [{**decisions(folder)[0], **change}])])


def test_decisions_are_neither_counted_twice_nor_overwritten(built, folder):
    one = filled(folder, "a.csv", decisions(folder))
    with pytest.raises(ConfigError, match="already"):
        add_people(folder, [one, one])
    people = add_people(folder, [one])["human"]
    assert write_benchmark(built, folder)["human"] == people, "the sheet is the same"
    (folder / "sheet.csv").write_text(one.read_text().replace(",", ";"))
    with pytest.raises(ConfigError, match="has decisions of people"):
        write_benchmark(built, folder)
    with pytest.raises(ConfigError, match="has no benchmark"):
        add_people(folder.parent, [folder / "sheet.csv"])


@pytest.mark.parametrize(("mark", "separator"), [("\ufeff", ";"), ("", "\t"), ("\ufeff", ",")])
def test_a_sheet_is_read_as_spreadsheets_save_it(folder, mark, separator):
    """With a byte order mark, other separators, and without the empty cells at the end of a row."""
    rows = [[row["case"], "ü" * 140_000, row["better"]] for row in decisions(folder)]
    lines = [["case", "prompt", "better", "note"], *rows[:2], rows[2][:2], []]
    text = mark + "".join(separator.join(line) + "\r\n" for line in lines)
    (folder / "ada.csv").write_text(text, encoding="utf-8", newline="")
    (ada,) = add_people(folder, [folder / "ada.csv"])["human"]["people"]
    assert (ada["decided"], ada["agreement"]["value"]) == (2, 1.0)
    (folder / "ada.csv").write_text(text, encoding="cp1252" if not mark else "utf-16")
    with pytest.raises(ConfigError, match=r"not UTF-8.*'CSV UTF-8'"):
        add_people(folder, [folder / "ada.csv"])


def test_files_of_something_else_are_not_overwritten(built, folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "train.jsonl").write_text("mine")
    with pytest.raises(ConfigError, match=r"train\.jsonl is not of a benchmark"):
        write_benchmark(built, other)
    assert [path.name for path in other.iterdir()] == ["train.jsonl"]
    with pytest.raises(ConfigError, match=r"test\.jsonl is not of a benchmark"):
        write_benchmark(built, folder, files=[folder / "test.jsonl"])
    (folder / "card.md").write_text("## Licences and notes\n\nübernommen", encoding="cp1252")
    with pytest.raises(ConfigError, match="Save it as UTF-8"):
        write_benchmark(built, folder)
    (folder / "build.json").write_text("[]")
    with pytest.raises(ConfigError, match="not of a benchmark, or of another version"):
        add_people(folder, [folder / "sheet.csv"])
