"""How often intervals corrected with few labels cover the truth, and how wide they are next to those of labels alone.

    python benchmarks/estimation.py [--draws 2000] [--only SECTION ...]
    python benchmarks/estimation.py --only real --data FOLDER --store verdicts.sqlite3

``judges``: biased, noisy and length-loving judges of scores, alone and with rows in clusters. ``rates``: win rates,
also near 1, and judges that agree nearly always. ``strata``: as many labels in every stratum. ``next``: rows drawn by
the judge's spread. ``real``: the replies of people's preference data (llmbar.jsonl and hhh.jsonl in FOLDER) and stored
verdicts on them: how often is the longer reply the better one? ``ppi``: the same as ``judges`` by `ppi-python`, if it
is installed. Two thousand draws of all but ``real`` take about ten minutes on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rewardanything_core.agreement.intervals import mean
from rewardanything_core.bench import read_items
from rewardanything_core.bench.judged_rows import judged_rows_of_store
from rewardanything_core.bench.label_matching import match_labels, win
from rewardanything_core.estimation import CorrectedMean, LabelledSample, corrected_mean, draw_first, draw_next

ROWS = 1_000
SCORES, RATE = (1.0, 5.0), (0.0, 1.0)

World = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""People's figures, the judge's, and the clusters, for a number of rows."""


# --- worlds


def noise(rng: np.random.Generator, rows: int, size: int) -> np.ndarray:
    """Standard normal; half of the variance is shared within clusters of a size."""
    if size == 1:
        return rng.normal(size=rows)
    shared = np.repeat(rng.normal(size=rows // size), size)
    return np.sqrt(0.5) * (shared + rng.normal(size=rows))


def scores(bias: float, slope: float, error: float, length: float = 0.0, size: int = 1) -> World:
    """Scores of people, 1..5, and of a judge with a bias, a slope, an error, and a preference for length."""

    def world(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        long = noise(rng, rows, size)
        people = np.round(np.clip(3.2 + 0.2 * long * (length > 0) + noise(rng, rows, size), 1, 5))
        judge = 3.2 + bias + slope * (people - 3.2) + length * long + error * noise(rng, rows, size)
        return people, np.clip(judge, 1, 5), np.arange(rows) // size

    return world


def wins(rate: float, agreement: float) -> World:
    """Wins of one system according to people, and of a judge that agrees with a share of them."""

    def world(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        people = (rng.random(rows) < rate).astype(float)
        return people, np.where(rng.random(rows) < agreement, people, 1 - people), np.arange(rows)

    return world


JUDGES: dict[str, World] = {
    "biased": scores(0.7, 0.9, 0.5),
    "noisy": scores(0.4, 0.4, 0.9),
    "length-biased": scores(0.3, 0.4, 0.3, length=0.8),
    "uninformative": scores(0.8, 0.0, 0.8),
    "biased, 5 rows a prompt": scores(0.7, 0.9, 0.5, size=5),
    "length-biased, 5 rows a prompt": scores(0.3, 0.4, 0.3, length=0.8, size=5),
}
RATES: dict[str, World] = {
    f"rate {rate:g}, agrees with {agreement:.0%}": wins(rate, agreement)
    for rate, agreement in ((0.5, 0.8), (0.5, 0.97), (0.8, 0.8), (0.95, 0.9), (0.98, 0.95))
}


# --- coverage


class Tally:
    """Coverage and widths over draws."""

    def __init__(self, truth: float) -> None:
        self.truth, self.draws, self.bounded = truth, 0, 0
        self.corrected, self.alone, self.judge = [0, 0.0], [0, 0.0], 0

    def add(self, found: CorrectedMean, judged: np.ndarray, clusters: np.ndarray) -> None:
        """Count a draw."""
        self.draws += 1
        self.bounded += found.method == "bounded"
        for tally, ends in ((self.corrected, found), (self.alone, found.labels_only)):
            tally[0] += ends.low <= self.truth <= ends.high
            tally[1] += ends.high - ends.low
        error = _standard_error(judged, clusters)
        self.judge += abs(found.judge_mean - self.truth) <= 1.96 * error

    def row(self) -> str:
        """Cells of a Markdown table: coverage, width, width of labels alone, coverage of both others, share bounded."""
        share = [100 * value / self.draws for value in (self.corrected[0], self.alone[0], self.judge, self.bounded)]
        widths = self.corrected[1] / self.draws, self.alone[1] / self.draws
        return (
            f"{share[0]:.1f} | {widths[0]:.2f} | {share[1]:.1f} | {widths[1]:.2f} | {share[2]:.0f} | {share[3]:.0f} |"
        )


HEADER = "| covers, % | width | labels alone: covers, % | width | judge's mean covers, % | widened, % |"


def _standard_error(values: np.ndarray, clusters: np.ndarray) -> float:
    sums = np.bincount(clusters, values - values.mean())
    return float(np.sqrt((sums**2).sum()) / len(values))


def coverage(worlds: dict[str, World], bounds: tuple[float, float], numbers: tuple[int, ...], draws: int) -> None:
    """Print a table: a row for each world and number of labels."""
    print(f"\n| judge | labels {HEADER}\n|{'---|' * 8}")
    for name, world in worlds.items():
        truth = float(world(np.random.default_rng(1), 2_000_000)[0].mean())
        for number in numbers:
            rng, tally = np.random.default_rng(number), Tally(truth)
            for _ in range(draws):
                people, judged, clusters = world(rng, ROWS)
                labels = np.where(rng.permutation(ROWS) < number, people, np.nan)
                sample = LabelledSample(judged=judged, labels=labels, bounds=bounds, clusters=clusters)
                tally.add(corrected_mean(sample), judged, clusters)
            print(f"| {name} | {number} | {tally.row()}", flush=True)


def strata(draws: int) -> None:
    """As many labels in each of four strata of different sizes, means and biases."""
    shares, means, biases = np.array([[0.5, 0.3, 0.15, 0.05], [4.0, 3.0, 2.0, 1.6], [0.8, 0.2, -0.3, 1.0]])

    def world(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        of = rng.choice(4, rows, p=shares)
        people = np.clip(means[of] + 0.6 * rng.normal(size=rows), 1, 5)
        return people, np.clip(people + biases[of] + 0.5 * rng.normal(size=rows), 1, 5), of

    truth = float(world(np.random.default_rng(1), 2_000_000)[0].mean())
    print(f"\n| strata | labels {HEADER}\n|{'---|' * 8}")
    for number in (5, 10, 25):
        rng, tallies = np.random.default_rng(number), {"stated": Tally(truth), "ignored": Tally(truth)}
        for _ in range(draws):
            people, judged, of = world(rng, ROWS)
            labels = np.full(ROWS, np.nan)
            for stratum in range(4):
                rows = np.flatnonzero(of == stratum)[:number]
                labels[rows] = people[rows]
            for name, tally in tallies.items():
                stated = of.tolist() if name == "stated" else None
                sample = LabelledSample(judged=judged, labels=labels, bounds=SCORES, strata=stated)
                tally.add(corrected_mean(sample), judged, np.arange(ROWS))
        for name, tally in tallies.items():
            print(f"| {name} | 4 x {number} | {tally.row()}", flush=True)


def drawn_by_spread(draws: int) -> None:
    """Rows drawn by the spread of a judge that is sometimes unsure, next to rows drawn uniformly."""

    def world(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        unsure = np.where(rng.random(rows) < 0.25, 1.5, 0.15)
        people = np.clip(3 + rng.normal(size=rows), 1, 5)
        judged = np.clip(people + 0.5 + unsure * rng.normal(size=rows), 1, 5)
        return people, judged, unsure * rng.uniform(0.6, 1.4, rows)

    truth = float(world(np.random.default_rng(1), 2_000_000)[0].mean())
    print(f"\n| drawn | labels {HEADER}\n|{'---|' * 8}")
    for first, second in ((0, 60), (30, 30), (30, 90)):
        rng = np.random.default_rng(first + second)
        tallies = {"by spread": Tally(truth), "uniformly": Tally(truth)}
        for draw_number in range(draws):
            people, judged, spread = world(rng, ROWS)
            order = rng.permutation(ROWS)
            labels = np.full(ROWS, np.nan)
            labels[order[:first]] = people[order[:first]]
            if first:
                sample = LabelledSample(judged=judged, labels=labels, bounds=SCORES)
                draw = draw_next(sample, corrected_mean(sample), second, spread=spread.tolist(), seed=draw_number)
            else:
                draw = draw_first(ROWS, second, spread=spread.tolist(), seed=draw_number)
            for name, tally in tallies.items():
                rows = list(draw.rows) if name == "by spread" else order[first : first + second]
                complete = labels.copy()
                complete[rows] = people[rows]
                chances = draw.probabilities if name == "by spread" else None
                given = LabelledSample(judged=judged, labels=complete, bounds=SCORES, probabilities=chances)
                tally.add(corrected_mean(given), judged, np.arange(ROWS))
        for name, tally in tallies.items():
            print(f"| {name} | {first} + {second} | {tally.row()}", flush=True)


def real(data: Path, store: Path, draws: int) -> None:
    """How often people prefer the longer of two replies, from a few of their labels and stored verdicts."""
    items = read_items([str(data / "llmbar.jsonl"), str(data / "hhh.jsonl")])
    print(f"\n| judge | rows | people | judge | labels {HEADER}\n|{'---|' * 11}")
    for model in ("smollm2-135m", "qwen2.5-coder-1.5b"):
        rows = [row for row in judged_rows_of_store(store, model=model) if len(row.case.labels) == 2]
        matched = match_labels(rows, items)
        people, judged, prompts = [], [], []
        for row, labels in zip(rows, matched.rows, strict=True):
            short, long = sorted(row.case.labels, key=lambda label: len(row.case.texts[label]))
            if (won := labels.win(None, long, short)) is not None:
                people.append(won)
                judged.append(win(row.scores[None][long], row.scores[None][short]))
                prompts.append(row.prompt)
        of_people, of_judge, total = np.array(people), np.array(judged), len(people)
        index = np.unique(prompts, return_inverse=True)[1]
        every = mean(people, prompts)
        for number in (25, 50, 100):
            rng, tally = np.random.default_rng(number), Tally(float(of_people.mean()))
            for _ in range(draws):
                given = np.where(rng.permutation(total) < number, of_people, np.nan)
                sample = LabelledSample(judged=of_judge, labels=given, bounds=RATE, clusters=index.tolist())
                tally.add(corrected_mean(sample), of_judge, index)
            print(f"| {model} | {total} | {every.value:.2f} | {of_judge.mean():.2f} | {number} | {tally.row()}")


def by_ppi_python(draws: int) -> None:
    """The estimates and intervals of ppi-python."""
    from ppi_py import ppi_mean_ci, ppi_mean_pointestimate

    print(
        "\n| judge | labels | ppi-python: covers, % | width | largest difference of estimates |\n|---|---|---|---|---|"
    )
    for name, world in JUDGES.items():
        truth = float(world(np.random.default_rng(1), 2_000_000)[0].mean())
        for number in (25, 100):
            rng, covers, width, largest = np.random.default_rng(number), 0, 0.0, 0.0
            for _ in range(draws):
                people, judged, _ = world(rng, ROWS)
                rows = rng.permutation(ROWS) < number
                parts = people[rows], judged[rows], judged[~rows]
                low, high = (float(np.ravel(end)[0]) for end in ppi_mean_ci(*parts, alpha=0.05))
                theirs = float(np.ravel(ppi_mean_pointestimate(*parts))[0])
                sample = LabelledSample(judged=judged, labels=np.where(rows, people, np.nan), bounds=SCORES)
                largest = max(largest, abs(theirs - corrected_mean(sample).value))
                covers, width = covers + (low <= truth <= high), width + high - low
            print(
                f"| {name} | {number} | {100 * covers / draws:.1f} | {width / draws:.2f} | {largest:.3f} |", flush=True
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sections = ("judges", "rates", "strata", "next", "real", "ppi")
    parser.add_argument("--draws", type=int, default=2_000)
    parser.add_argument("--only", nargs="*", choices=sections, default=("judges", "rates", "strata", "next"))
    parser.add_argument("--data", type=Path, help="folder with llmbar.jsonl and hhh.jsonl")
    parser.add_argument("--store", type=Path, help="verdict store with verdicts on them")
    options = parser.parse_args()
    if "judges" in options.only:
        coverage(JUDGES, SCORES, (12, 25, 50, 100), options.draws)
    if "rates" in options.only:
        coverage(RATES, RATE, (25, 50, 100), options.draws)
    if "strata" in options.only:
        strata(options.draws)
    if "next" in options.only:
        drawn_by_spread(options.draws)
    if "real" in options.only:
        if options.data is None or options.store is None:
            parser.error("real needs --data and --store")
        real(options.data, options.store, min(options.draws, 500))
    if "ppi" in options.only:
        by_ppi_python(min(options.draws, 500))


if __name__ == "__main__":
    main()
