import math
import random
from itertools import permutations

import pytest

from rewardanything_core.agreement import krippendorff_alpha

NA = None
# The worked example of Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability": 4 observers, 12 units.
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NA, NA, NA],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NA, 3],
    [NA, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NA],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NA],
]


@pytest.mark.parametrize(("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_equals_the_published_example(level, alpha):
    assert krippendorff_alpha(OBSERVERS, level) == pytest.approx(alpha, abs=0.0005)
    as_nan = [[math.nan if value is NA else value for value in row] for row in OBSERVERS]
    assert krippendorff_alpha(as_nan, level) == krippendorff_alpha(OBSERVERS, level)


def by_definition(ratings, level):
    """1 - observed over expected disagreement, pair by pair, as the paper defines them."""
    units = [[v for v in unit if v is not NA] for unit in zip(*ratings, strict=True)]
    units = [unit for unit in units if len(unit) > 1]
    pooled = [v for unit in units for v in unit]

    def delta(c, k):
        if level == "nominal":
            return float(c != k)
        if level == "interval":
            return (c - k) ** 2
        low, high = min(c, k), max(c, k)
        between = sum(low <= v <= high for v in pooled)
        return (between - (pooled.count(c) + pooled.count(k)) / 2) ** 2

    def total(values):
        return sum(delta(c, k) for c, k in permutations(values, 2))

    observed = sum(total(unit) / (len(unit) - 1) for unit in units) / len(pooled)
    return 1 - observed / (total(pooled) / (len(pooled) * (len(pooled) - 1)))


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
def test_alpha_of_random_ratings_equals_the_definition(level):
    rng = random.Random(0)
    for _ in range(20):
        ratings = [[rng.choice([1, 2, 3, 5, NA]) for _ in range(9)] for _ in range(4)]
        assert krippendorff_alpha(ratings, level) == pytest.approx(by_definition(ratings, level))


def test_alpha_of_perfect_opposite_and_random_ratings():
    assert krippendorff_alpha([["x", "y", "x"], ["x", "y", "x"]], "nominal") == 1.0
    assert krippendorff_alpha([[1, 5, 1, 5], [5, 1, 5, 1]]) < 0
    rng = random.Random(0)
    chance = [[rng.randint(1, 5) for _ in range(5000)] for _ in range(3)]
    assert krippendorff_alpha(chance) == pytest.approx(0, abs=0.03)


def test_alpha_is_none_where_it_is_undefined():
    assert krippendorff_alpha([]) is None
    assert krippendorff_alpha([[1, 2, 3]]) is None
    assert krippendorff_alpha([[1, NA], [NA, 2]]) is None
    assert krippendorff_alpha([[0.1, 0.1], [0.1, 0.1]]) is None


def test_invalid_arguments_are_errors():
    with pytest.raises(ValueError, match="nominal, ordinal or interval"):
        krippendorff_alpha(OBSERVERS, "ratio")
    with pytest.raises(ValueError, match="every unit"):
        krippendorff_alpha([[1, 2], [1]])
