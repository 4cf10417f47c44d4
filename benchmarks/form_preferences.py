"""Does a model understand which form a principle wants, when it is asked about the principle alone?

    python benchmarks/form_preferences.py [--model qwen2.5-coder-1.5b] [--answers FILE]
    python benchmarks/form_preferences.py --principles benchmarks/form_preferences_after.toml

The pointwise readouts count words, lists and other text features as much as the principle's profile wants them. Prints,
for labelled principles of ours, which preferences the profile finds, misses and invents.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from answer_cache import AnswerCache

from rewardanything_core.readouts.pointwise.principle_profile import PrincipleProfiler
from rewardanything_core.readouts.pointwise.questions import question_set
from rewardanything_core.readouts.pointwise.text_features import FEATURES

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-1.5b")
    parser.add_argument("--principles", type=Path, default=HERE / "form_preferences.toml")
    parser.add_argument("--answers", type=Path, help="file of the model's answers, which a second run resumes from")
    arguments = parser.parse_args()
    own = tomllib.loads(arguments.principles.read_text(encoding="utf-8"))
    backend = AnswerCache(arguments.model, arguments.answers or Path(tempfile.mkdtemp()) / "answers.jsonl")
    profiler = PrincipleProfiler(backend, question_set())
    asyncio.run(print_form(profiler, own["form"], own["ordinary"]))
    backend.close()


async def print_form(profiler: PrincipleProfiler, labelled: list[dict[str, Any]], others: list[str]) -> None:
    """How well the answers find preferences on form; a principle has no preference on a feature without a label."""
    unlabelled = [{"principle": text} for text in others if text not in {row["principle"] for row in labelled}]
    profiles = [
        (row, await profiler.profile(row["principle"], has_source=False, on_usage=lambda usage: None))
        for row in [*labelled, *unlabelled]
    ]
    preferences = [(row, profile.feature_preferences) for row, profile in profiles]
    mistakes = []
    print("\n| feature | wanted | found | missed or reversed | invented, beyond .1 |\n|---|---|---|---|---|")
    for feature in FEATURES:
        wanted = [(row, found[feature]) for row, found in preferences if row.get(feature)]
        invented = [(r, found[feature]) for r, found in preferences if feature not in r and abs(found[feature]) > 0.1]
        missed = [(row, preference) for row, preference in wanted if row[feature] * preference <= 0]
        print(f"| {feature} | {len(wanted)} | {len(wanted) - len(missed)} | {len(missed)} | {len(invented)} |")
        for what, rows in (("missed", missed), ("invented", invented)):
            mistakes += [(f"{feature} {what}", preference, row) for row, preference in rows]
    print(f"\n{len(preferences)} principles")
    for what, preference, row in mistakes:
        print(f"  {what} {preference:+.2f} {row['principle'][:90]}")


if __name__ == "__main__":
    main()
