"""Benchmarks built by jurors of known noise: is the consensus better than each juror, and are close lists disputed?

    python benchmarks/build.py [--lists 2000] [--seed 0]

Responses have a true quality under a principle. A third of the lists are close: their qualities differ a tenth as much
as those of the others. A juror sees each quality with an error that it makes in every order, another one in each order,
and a bonus for the place it shows first; it gives whole scores from 1 to 5. Votes, consensus and agreement are those of
``ra-judge build``, without a model. Accuracy is over the pairs of responses by their true qualities; a tie counts half.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

from rewardanything_core.agreement.consensus import Votes, consensus_ranking, mean_tau_b, votes_of_scores
from rewardanything_core.benchmark_building.votes import juror_votes
from rewardanything_core.types import Verdict

CLOSE = 0.1
"""Spread of the true qualities of close lists, where that of others is 1."""

THRESHOLDS = (-1.0, 0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8)


@dataclass(frozen=True)
class Juror:
    error: float  # standard deviation of the error that it makes in every order
    noise: float  # of the error in each order
    first: float  # what being shown first is worth
    scale: float = 1.0  # how widely it spreads its scores


JUROR_SETS = {
    "3 jurors": [Juror(0.5, 0.3, 0.0), Juror(0.7, 0.3, 0.3), Juror(0.9, 0.3, 0.6)],
    "3 equal jurors": [Juror(0.7, 0.3, 0.3)] * 3,
    "5 equal jurors": [Juror(0.7, 0.3, 0.3)] * 5,
    "3 with strong position bias": [Juror(0.7, 0.3, 1.5)] * 3,
    "3, the noisiest with the widest scale": [
        Juror(0.5, 0.3, 0.0, 0.7),
        Juror(0.5, 0.3, 0.0, 0.7),
        Juror(1.2, 0.3, 0.0, 1.8),
    ],
}


def verdict(juror: Juror, quality: Mapping[str, float], rng: random.Random) -> Verdict:
    """What a juror says in as many orders as there are responses."""
    errors = {label: rng.gauss(0, juror.error) for label in quality}
    order = rng.sample(list(quality), len(quality))
    orders = [order[shift:] + order[:shift] for shift in range(len(order))]
    passes = []
    for shown in orders:
        seen = {label: quality[label] + errors[label] + rng.gauss(0, juror.noise) for label in quality}
        seen[shown[0]] += juror.first
        passes.append({label: float(min(5, max(1, round(3 + juror.scale * value)))) for label, value in seen.items()})
    scores = {label: fmean(each[label] for each in passes) for label in quality}
    return Verdict(scores=scores, ranking=sorted(scores, key=lambda x: -scores[x]), orders=orders, pass_scores=passes)


def accuracy(votes: Votes, quality: Mapping[str, float]) -> float:
    """Share of pairs that are ordered as the true qualities are; a tie or no vote counts half."""
    truth = votes_of_scores(quality)
    return fmean((1 + truth[pair] * votes.get(pair, 0)) / 2 for pair in truth)


def net_votes(given: Verdict) -> Votes:
    """Votes that ignore whether they depend on the position."""
    net = dict.fromkeys(combinations(sorted(given.scores), 2), 0)
    for scores in given.pass_scores:
        for pair, vote in votes_of_scores(scores).items():
            net[pair] += vote
    return {pair: (vote > 0) - (vote < 0) for pair, vote in net.items()}


def lists(number: int, size: int, jurors: Sequence[Juror], seed: int):
    rng = random.Random(f"{seed}/{size}")
    for place in range(number):
        close = place % 3 == 0
        quality = {f"r{i}": rng.gauss(0, CLOSE if close else 1.0) for i in range(size)}
        yield close, quality, [verdict(juror, quality, rng) for juror in jurors]


def show(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    print("| " + " | ".join(header) + " |\n|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(f"{x:.3f}" if isinstance(x, float) else str(x) for x in row) + " |")
    print()


def compare_consensus(number: int, seed: int) -> None:
    print("Lists that are not close. Kemeny and Borda: accuracy; share of pairs tied; share right of the others\n")
    rows = []
    for name, jurors in JUROR_SETS.items():
        for size in (2, 4):
            found: dict[str, list[Votes]] = {}
            truths = []
            for close, quality, verdicts in lists(number, size, jurors, seed):
                if close:
                    continue
                labels, votes = list(quality), [juror_votes(each).votes for each in verdicts]
                truths.append(quality)
                for way, decided in {
                    "kemeny": consensus_ranking(labels, votes).votes,
                    "borda": consensus_ranking(labels, votes, method="borda").votes,
                    "all": consensus_ranking(labels, [net_votes(each) for each in verdicts]).votes,
                    "mean": votes_of_scores({label: fmean(v.scores[label] for v in verdicts) for label in labels}),
                    **{f"juror {place}": own for place, own in enumerate(votes)},
                }.items():
                    found.setdefault(way, []).append(decided)
            right = {way: fmean(map(accuracy, decided, truths)) for way, decided in found.items()}
            of_jurors = [value for way, value in right.items() if way.startswith("juror")]
            ways = [f"{right[way]:.3f}; {ties(found[way], truths)}" for way in ("kemeny", "borda")]
            rows.append([name, size, min(of_jurors), max(of_jurors), *ways, right["all"], right["mean"]])
    header = ["jury", "responses", "worst juror", "best juror", "Kemeny", "Borda"]
    show([*header, "Kemeny, inconsistent votes too", "mean score"], rows)


def ties(decided: Sequence[Votes], truths: Sequence[Mapping[str, float]]) -> str:
    """Share of pairs tied, and accuracy on the others."""
    pairs = [
        (vote, votes_of_scores(truth)[pair])
        for votes, truth in zip(decided, truths, strict=True)
        for pair, vote in votes.items()
    ]
    ordered = [vote == truth for vote, truth in pairs if vote]
    return f"{1 - len(ordered) / len(pairs):.0%}; {fmean(ordered):.3f}"


def compare_thresholds(number: int, seed: int) -> None:
    for name, size in (("3 jurors", 2), ("3 jurors", 4), ("5 equal jurors", 2), ("5 equal jurors", 4)):
        judged = []
        for close, quality, verdicts in lists(number, size, JUROR_SETS[name], seed):
            votes = [juror_votes(each).votes for each in verdicts]
            gap = fmean(abs(one - other) for one, other in combinations(quality.values(), 2))
            right = accuracy(consensus_ranking(list(quality), votes).votes, quality)
            judged.append((mean_tau_b(votes) or 0.0, close, gap, right))
        print(f"{name}, {size} responses\n")
        rows = []
        for threshold in THRESHOLDS:
            kept = [each for each in judged if each[0] >= threshold]
            dropped = [each for each in judged if each[0] < threshold]
            of_close, of_others = (
                fmean(agreement < threshold for agreement, close, _, _ in judged if close == wanted)
                for wanted in (True, False)
            )
            gaps = [fmean(each[2] for each in part) if part else "-" for part in (kept, dropped)]
            label = "none" if threshold == -1 else threshold
            rows.append(
                [label, len(kept) / len(judged), of_close, of_others, *gaps, fmean(right for *_, right in kept)]
            )
        header = ["least agreement", "kept", "of close lists dropped", "of others dropped"]
        show([*header, "true gap of kept", "of dropped", "accuracy of kept"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lists", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    compare_consensus(given.lists, given.seed)
    compare_thresholds(given.lists, given.seed)


if __name__ == "__main__":
    main()
