"""How often a small model's reply is a valid verdict: as free text, under a JSON schema, and under our grammar.

    python benchmarks/valid_verdicts.py DATA_FOLDER [--model qwen2.5-coder-1.5b] [--cases 100] [--json OUT]

DATA_FOLDER holds JSONL files of public judge benchmarks (llmbar, hhh, topicalchat), one case a line with "principle",
"prompt" and "responses". All arms have the same cases, the same orders of responses and greedy decoding, and no
retries. ``form`` is our grammar. ``schema`` and ``free`` run `transformers.generate`, eight cases at a time, with up to
256 new tokens, with and without an xgrammar logits processor.
"""

from __future__ import annotations

import argparse
import collections
import json
import random
import time
from pathlib import Path

from rewardanything_core import Case, Judge, Template, Verdict, VerdictParseError, parse_verdict
from rewardanything_core.backends.local.backend import LocalBackend
from rewardanything_core.prompting.masking import draw_order
from rewardanything_core.prompting.verdict_grammar import verdict_schema
from rewardanything_core.weights.fetch import fetch

SOURCES = ("llmbar", "hhh", "topicalchat")
NEW_TOKENS = 256
BATCH = 8


def sample(folder: Path, count: int) -> list[Case]:
    rng = random.Random(0)
    cases = []
    for source in SOURCES:
        rows = [json.loads(line) for line in (folder / f"{source}.jsonl").open()]
        drawn = rng.sample(rows, -(-count // len(SOURCES)))
        cases += [Case(row["principle"], row["prompt"], row["responses"], id=row["id"]) for row in drawn]
    rng.shuffle(cases)  # the first ones are a sample of all sources
    return cases[:count]


def generated(backend: LocalBackend, cases: list[Case], *, grammar: bool) -> list[str]:
    """Replies of ``transformers.generate``, with or without an xgrammar logits processor."""
    import torch
    import xgrammar

    model, tokenizer = backend._model, backend._decoder._tokenizer
    template = Template.built_in("json" if grammar else "think")
    info = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=model.config.vocab_size)
    compiler = xgrammar.GrammarCompiler(info)
    replies: list[str] = []
    for start in range(0, len(cases), BATCH):
        rendered = [
            template.render(c, draw_order(c, seed=0), escape_special_tokens=False) for c in cases[start : start + BATCH]
        ]
        prompts = [backend._chat.encode(r.messages).ids for r in rendered]
        width = max(map(len, prompts))
        ids = torch.tensor([[tokenizer.pad_token_id] * (width - len(p)) + p for p in prompts])
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
        processors = []
        if grammar:
            schemas = [json.dumps(verdict_schema(list(r.labels), reasoning=True)) for r in rendered]
            compiled = [compiler.compile_json_schema(schema, any_whitespace=False) for schema in schemas]
            processors = [xgrammar.contrib.hf.LogitsProcessor(compiled)]
        with torch.inference_mode():
            out = model.generate(
                ids, attention_mask=mask, max_new_tokens=NEW_TOKENS, do_sample=False, logits_processor=processors
            )
        replies += tokenizer.batch_decode(out[:, width:], skip_special_tokens=True)
        print(f"  {len(replies)} of {len(cases)}: {dict(tally(replies, cases[: len(replies)]))}", flush=True)
    return replies


def tally(replies: list[str], cases: list[Case]) -> collections.Counter[str]:
    kinds: collections.Counter[str] = collections.Counter()
    for reply, case in zip(replies, cases, strict=True):
        try:
            parse_verdict(reply, [f"model-{i + 1}" for i in range(len(case.responses))])
            kinds["valid"] += 1
        except VerdictParseError as error:
            kinds[reason(str(error))] += 1
    return kinds


REASONS = {
    "ranked above": "ranking against its own scores",
    "repeats a response": "a response ranked twice",
    "missing from": "a response left out",
    "unknown names": "a response made up",
    "no 'scores'": "no scores",
    "no 'best-to-worst'": "no ranking of names",
    "not a number": "a score that is not a number within 1..5",
    "no JSON": "no JSON",
    "broken JSON": "broken JSON",
    "never ended": "reasoning that never ends",
    "different JSON": "several verdicts",
}


def reason(message: str) -> str:
    return next((name for words, name in REASONS.items() if words in message), message[:80])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="qwen2.5-coder-1.5b")
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--arms", default="form,schema,free")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    backend = LocalBackend(fetch(arguments.model), name=arguments.model, max_batch_size=8)
    cases = sample(arguments.folder, arguments.cases)
    results = {}
    for arm in arguments.arms.split(","):
        started = time.perf_counter()
        if arm == "form":
            outcomes = Judge(backend, cache="off", retries=0).judge_batch(cases)
            kinds = collections.Counter(
                "valid" if isinstance(outcome, Verdict) else outcome.error_type for outcome in outcomes
            )
        else:
            kinds = tally(generated(backend, cases, grammar=arm == "schema"), cases)
        results[arm] = {"seconds": round(time.perf_counter() - started, 1), **dict(kinds)}
        print(arm, results[arm], flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
