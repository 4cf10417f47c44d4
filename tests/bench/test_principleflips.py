"""PrincipleFlips, the data set in benchmarks/: its balance, and that words alone do not give the answers away."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from rewardanything_core.bench import read_flips, read_items

FOLDER = Path(__file__).parents[2] / "benchmarks" / "principleflips"
SPLITS = ("train", "validation", "test")
ROWS: dict[str, list[dict[str, Any]]] = {
    split: [json.loads(line) for line in (FOLDER / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]
    for split in SPLITS
}
ALL = [row for split in SPLITS for row in ROWS[split]]
PAIRS = list(zip(ALL[::2], ALL[1::2], strict=True))
_WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")


def _size(text: str) -> int:
    return len(text) * (3 if _WIDE.search(text) else 1)


def _words(text: str) -> set[str]:
    return {word for word in re.findall(r"\w+", text.lower()) if len(word) > 3}


def test_it_has_the_announced_size_and_no_family_is_in_two_splits() -> None:
    families = {split: {row["group"] for row in rows} for split, rows in ROWS.items()}
    assert len(PAIRS) >= 600
    assert sum(map(len, families.values())) == len(set().union(*families.values())) >= 200


@pytest.mark.parametrize("split", SPLITS)
def test_it_is_read_as_a_benchmark_with_flips(split: str) -> None:
    items = read_items([str(FOLDER / f"{split}.jsonl")])
    flips = read_flips([str(FOLDER / f"{split}-flips.jsonl")])
    assert len(items) == 2 * len(flips) == len(ROWS[split])
    by_criterion = {(item.group, item.criterion): item for item in items}
    for flip in flips:
        assert by_criterion[flip.group, flip.a].pairs == ((flip.better_under_a, flip.better_under_b),)
        assert by_criterion[flip.group, flip.b].pairs == ((flip.better_under_b, flip.better_under_a),)


def test_each_pair_is_ordered_oppositely_by_its_two_principles() -> None:
    for one, other in PAIRS:
        assert (one["prompt"], one["responses"]) == (other["prompt"], other["responses"])
        assert one["pairs"][0] == other["pairs"][0][::-1]
        assert one["principle"] != other["principle"]


def test_lengths_and_formats_are_balanced() -> None:
    for one, _ in PAIRS:
        first, second = one["responses"].values()
        assert max(_size(first), _size(second)) <= 1.26 * min(_size(first), _size(second)), one["id"]
        assert ("\n" in first) == ("\n" in second), one["id"]
    # Whichever value a family's first principle states, the response that it favours is not always the longer one.
    longer = defaultdict(list)
    for one, _ in PAIRS:
        (better, worse), texts = one["pairs"][0], one["responses"]
        longer[one["group"]].append(_size(texts[better]) > _size(texts[worse]))
    always = [group for group, sides in longer.items() if len(set(sides)) == 1]
    assert len(always) <= 0.03 * len(longer), always
    assert 0.45 < sum(map(sum, longer.values())) / len(PAIRS) < 0.55


def test_the_first_response_is_as_often_the_better_one() -> None:
    assert Counter(one["pairs"][0][0] for one, _ in PAIRS)["r1"] / len(PAIRS) == pytest.approx(0.5, abs=0.05)


def test_nothing_is_duplicated() -> None:
    assert len({row["id"] for row in ALL}) == len(ALL)
    assert len({one["prompt"] for one, _ in PAIRS}) > 0.97 * len(PAIRS)
    texts = Counter(text for one, _ in PAIRS for text in one["responses"].values())
    assert not [text for text, count in texts.items() if count > 1]
    principles = Counter(row["principle"] for row in ALL)
    assert not [principle for principle, count in principles.items() if count > 2]


def test_words_that_principle_and_response_share_do_not_give_the_answer_away() -> None:
    outcomes = []
    for row in ALL:
        better, worse = row["pairs"][0]
        shared = {label: len(_words(row["principle"]) & _words(row["responses"][label])) for label in (better, worse)}
        outcomes.append((shared[better] > shared[worse]) + (shared[better] == shared[worse]) / 2)
    assert sum(outcomes) / len(outcomes) == pytest.approx(0.5, abs=0.04)


def test_words_of_the_response_that_go_with_words_of_the_principle_elsewhere_do_not_transfer() -> None:
    """A bag of words fitted to the training families: how often words were right under principles with such words."""
    joint: Counter[tuple[str, str]] = Counter()
    for row in ROWS["train"]:
        better, worse = row["pairs"][0]
        only = _words(row["responses"][better]) - _words(row["responses"][worse])
        other = _words(row["responses"][worse]) - _words(row["responses"][better])
        for word in _words(row["principle"]):
            joint.update((word, mine) for mine in only)
            joint.subtract((word, mine) for mine in other)
    outcomes = []
    for row in [*ROWS["validation"], *ROWS["test"]]:
        better, worse = row["pairs"][0]
        total = {
            label: sum(joint[p, r] for p in _words(row["principle"]) for r in _words(row["responses"][label]))
            for label in (better, worse)
        }
        outcomes.append((total[better] > total[worse]) + (total[better] == total[worse]) / 2)
    assert sum(outcomes) / len(outcomes) == pytest.approx(0.5, abs=0.08)
