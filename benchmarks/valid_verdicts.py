"""How often a small model's reply is a valid verdict: written freely, under a JSON schema, and under our form.

    python benchmarks/valid_verdicts.py DATA_FOLDER [--model qwen2.5-coder-1.5b] [--cases 100] [--json OUT]

DATA_FOLDER holds JSONL files of the public judge benchmarks (llmbar, hhh, topicalchat, summeval), one case a line with
"principle", "prompt" and "responses". The same cases, order of responses and greedy decoding in all three arms; no retries.
"""

from __future__ import annotations

import argparse
import collections
import json
import random
import time
from pathlib import Path

from rewardanything_core import Case, Judge, Template, Verdict, VerdictParseError, parse_verdict
from rewardanything_core.backends.local import LocalBackend
from rewardanything_core.embedded import fetch
from rewardanything_core.forms import verdict_schema
from rewardanything_core.masking import draw_order

SOURCES = ("llmbar", "hhh", "topicalchat", "summeval")
NEW_TOKENS = 512


def sample(folder: Path, count: int) -> list[Case]:
    rng = random.Random(0)
    cases = []
    for source in SOURCES:
        rows = [json.loads(line) for line in (folder / f"{source}.jsonl").open()]
        for row in rng.sample(rows, count // len(SOURCES)):
            cases.append(Case(row["principle"], row["prompt"], row["responses"], id=row["id"]))
    return cases


def generated(backend: LocalBackend, cases: list[Case], *, grammar: bool) -> list[str]:
    """Bare ``transformers.generate``, with or without an xgrammar logits processor; replies as text."""
    import torch
    import xgrammar

    model, tokenizer = backend._model, backend._decoder._tokenizer
    template = Template.own("json" if grammar else "think")
    info = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=model.config.vocab_size)
    compiler = xgrammar.GrammarCompiler(info)
    replies = []
    for case in cases:
        rendered = template.render(case, draw_order(case, seed=0), escape_markup=False)
        ids = torch.tensor([backend._chat.encode(rendered.messages).ids])
        processors = []
        if grammar:
            schema = json.dumps(verdict_schema(list(rendered.labels), reasoning=True))
            compiled = compiler.compile_json_schema(schema, any_whitespace=False)
            processors = [xgrammar.contrib.hf.LogitsProcessor(compiled)]
        with torch.inference_mode():
            out = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=NEW_TOKENS,
                do_sample=False,
                logits_processor=processors,
            )
        replies.append(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))
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


def reason(message: str) -> str:
    for words in ("ranked above", "twice", "leave out", "no JSON", "broken JSON", "never ended", "different JSON"):
        if words in message:
            return words
    return "other"


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
