"""How well simulated judges order long lists, in sub-lists and as one list.

    python benchmarks/long_lists.py

A simulated judge scores each response with its true score (uniform over 1.5..4.5), plus noise (deviation 0.5), plus an
offset for the whole list (normal, with the deviation in the table), rounded to 1..5 or exact. The table shows
Spearman's correlation of the verdict's ranking with the true scores, as the mean over 12 draws of true scores.
"""

import json
import random
import re
from collections import defaultdict
from itertools import chain
from statistics import fmean

from scipy.stats import spearmanr

from rewardanything_core import Judge, ScriptedBackend
from rewardanything_core.backends import verdict_reply

DRAWS, NOISE = 12, 0.5


def judge(truth, rng, bias, whole, **options):
    def reply(request):
        offset = rng.gauss(0, bias)
        scores = {}
        for name, text in json.loads(request.messages[1]["content"])["responses"].items():
            score = truth[text] + offset + rng.gauss(0, NOISE)
            scores[name] = min(5, max(1, round(score) if whole else score))
        return verdict_reply(scores)

    return Judge(ScriptedBackend(reply), cache="off", **options)


def correlations(count, bias, whole, **options):
    """Spearman's correlations of the verdict's ranking, and of plain means of the scores, with the true scores."""
    of_ranking, of_means = [], []
    for draw in range(DRAWS):
        rng = random.Random(draw)
        truth = {f"response {i}": rng.uniform(1.5, 4.5) for i in range(count)}
        verdict = judge(truth, rng, bias, whole, **options).judge("p", f"q{draw}", list(truth))
        labels, true = list(verdict.scores), list(truth.values())
        of_ranking.append(spearmanr(true, [-verdict.ranking.index(label) for label in labels])[0])
        replies = [json.loads(raw)["scores"] for raw in re.findall(r'\{"scores".*\}', verdict.raw_output)]
        by_label = defaultdict(list)
        for order, scores in zip(chain(*(verdict.sublists or [verdict.orders])), replies, strict=True):
            for place, label in enumerate(order, start=1):
                by_label[label].append(scores[f"model-{place}"])
        of_means.append(spearmanr(true, [fmean(by_label[label]) for label in labels])[0])
    return fmean(of_ranking), fmean(of_means)


def main():
    print("| responses | judge | sub-lists of 16, twice | their plain means | whole list, once | whole list, twice |")
    print("|---|---|---|---|---|---|")
    for count in (32, 64, 200):
        for bias, whole in ((0, False), (0.5, False), (0.5, True), (1, False)):
            merged, plain = correlations(count, bias, whole)
            once, _ = correlations(count, bias, whole, max_list=count)
            twice, _ = correlations(count, bias, whole, max_list=count, passes=2)
            kind = f"list bias {bias}{', whole scores' if whole else ''}"
            print(f"| {count} | {kind} | {merged:.2f} | {plain:.2f} | {once:.2f} | {twice:.2f} |")


if __name__ == "__main__":
    main()
