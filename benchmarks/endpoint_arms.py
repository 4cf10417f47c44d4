"""The arms of `throughput_endpoint.py`: each judges the same cases over HTTP, in a separate process.

    python endpoint_arms.py ARM URL CONCURRENCY

waits for lines ``COUNT TAG`` on standard input, judges that many new cases for each, and prints the time as JSON. Only
an arm's own library is imported, so that it runs in an environment with that library alone.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

for name, value in {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # otherwise it fetches prices from the network
    "DEEPEVAL_TELEMETRY_OPT_OUT": "YES",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "LANGSMITH_TRACING": "false",
    "OPENAI_API_KEY": "none",
    "NO_PROXY": "127.0.0.1",
}.items():
    os.environ.setdefault(name, value)

Pair = tuple[str, str]
Run = Callable[[list[Pair]], int]
"""Judges pairs of a question and an answer, and returns the number of scores."""

PRINCIPLE = "Concise before complete; never invent facts."

REPLIES = {
    "verdict": '{"reasoning": "Short and true.", "scores": {"model-1": 4}, "best-to-worst": ["model-1"]}',
    "openevals": '{"reasoning": "Short and true.", "score": true}',
    "deepeval": '{"reason": "Short and true.", "score": 8}',
    "mlflow": '{"result": 4, "rationale": "Short and true."}',
}
"""Name in the stub's URL -> its reply, in the form that the library expects."""


def pairs(count: int, tag: str) -> list[Pair]:
    """Questions and answers that did not occur in an earlier round.

    Args:
        count: How many.
        tag: Part of each question.
    """
    return [(f"Question {tag}-{i}: who wrote Middlemarch?", f"George Eliot ({i}). " * 8) for i in range(count)]


def concurrently(one: Callable[[Pair], Coroutine[Any, Any, object]], concurrency: int) -> Run:
    """Run a coroutine for each pair, on one event loop that stays open.

    Args:
        one: Judges one pair.
        concurrency: Maximum number of pairs at a time.
    """
    loop = asyncio.new_event_loop()

    async def everything(cases: list[Pair]) -> int:
        slots = asyncio.Semaphore(concurrency)

        async def held(case: Pair) -> object:
            async with slots:
                return await one(case)

        return sum(outcome is not None for outcome in await asyncio.gather(*map(held, cases)))

    return lambda cases: loop.run_until_complete(everything(cases))


# --- ours


def judge_at(url: str, concurrency: int, *, model: str = "hosted_vllm/judge", **options: Any) -> Any:
    from rewardanything_core import from_endpoint

    options.setdefault("store", str(Path(tempfile.mkdtemp()) / "verdicts.sqlite3"))
    return from_endpoint(model, url, api_key="none", max_concurrency=concurrency, **options)


def batch(judge: Any) -> Run:
    from rewardanything_core import Case

    def run(cases: list[Pair]) -> int:
        made = [Case(PRINCIPLE, question, [answer]) for question, answer in cases]
        return sum(hasattr(outcome, "scores") for outcome in judge.judge_batch(made))

    return run


def ours(url: str, concurrency: int) -> Run:
    """`judge_batch` with its defaults: every verdict is stored."""
    return batch(judge_at(url, concurrency))


def ours_unstored(url: str, concurrency: int) -> Run:
    """`judge_batch` with cache="off"."""
    return batch(judge_at(url, concurrency, cache="off"))


def ours_through_litellm(url: str, concurrency: int) -> Run:
    """`judge_batch` through LiteLLM."""
    return batch(judge_at(url, concurrency, model="openai/judge", client="litellm"))


def ours_threads(url: str, concurrency: int) -> Run:
    """As many threads as requests in flight, each calling `judge` for one case at a time."""
    judge = judge_at(url, concurrency)

    def run(cases: list[Pair]) -> int:
        with ThreadPoolExecutor(concurrency) as pool:
            return sum(bool(v.scores) for v in pool.map(lambda case: judge.judge(PRINCIPLE, case[0], [case[1]]), cases))

    return run


# --- only the request


def bare(url: str, concurrency: int, model: str) -> Run:
    import litellm

    from rewardanything_core import Case
    from rewardanything_core.prompting.templates import Template
    from rewardanything_core.prompting.verdict_grammar import verdict_schema

    template = Template.built_in("json")
    schema = {"name": "verdict", "schema": verdict_schema(["model-1"], reasoning=True), "strict": True}

    async def one(pair: Pair) -> object:
        case = Case(PRINCIPLE, pair[0], [pair[1]])
        reply = await litellm.acompletion(
            model=model,
            api_base=url,
            api_key="none",
            messages=template.render(case, case.labels).messages,
            max_tokens=2048,
            temperature=0.0,
            seed=0,
            response_format={"type": "json_schema", "json_schema": schema},
        )
        return reply.choices[0].message.content

    return concurrently(one, concurrency)


def litellm_bare(url: str, concurrency: int) -> Run:
    """`litellm.acompletion` under `asyncio.gather`, with our messages; the replies are not parsed."""
    return bare(url, concurrency, "hosted_vllm/judge")


def litellm_bare_openai(url: str, concurrency: int) -> Run:
    """The same for an ``openai/`` model."""
    return bare(url, concurrency, "openai/judge")


# --- peers


def openevals(url: str, concurrency: int) -> Run:
    """`create_async_llm_as_judge` over LangChain's chat model."""
    from langchain_openai import ChatOpenAI
    from openevals.llm import create_async_llm_as_judge

    evaluate = create_async_llm_as_judge(
        prompt=f"{PRINCIPLE}\n\nQuestion: {{inputs}}\n\nAnswer: {{outputs}}",
        judge=ChatOpenAI(model="judge", base_url=url, api_key="none", temperature=0, max_retries=0),
    )

    async def one(pair: Pair) -> object:
        return (await evaluate(inputs=pair[0], outputs=pair[1]))["score"]

    return concurrently(one, concurrency)


def openevals_client(url: str, concurrency: int) -> Run:
    """`create_async_llm_as_judge` over OpenAI's client."""
    from openai import AsyncOpenAI
    from openevals.llm import create_async_llm_as_judge

    evaluate = create_async_llm_as_judge(
        prompt=f"{PRINCIPLE}\n\nQuestion: {{inputs}}\n\nAnswer: {{outputs}}",
        judge=AsyncOpenAI(base_url=url, api_key="none", max_retries=0),
        model="judge",
    )

    async def one(pair: Pair) -> object:
        return (await evaluate(inputs=pair[0], outputs=pair[1]))["score"]

    return concurrently(one, concurrency)


def deepeval(url: str, concurrency: int) -> Run:
    """`GEval.a_measure` with given steps, so that it sends one request for each case."""
    from deepeval.metrics import GEval
    from deepeval.models import OpenAIModel
    from deepeval.test_case import LLMTestCase, SingleTurnParams

    model = OpenAIModel(model="judge", base_url=url, api_key="none", temperature=0)

    async def one(pair: Pair) -> object:
        metric = GEval(
            name="principle",
            evaluation_steps=[PRINCIPLE],
            evaluation_params=[SingleTurnParams.INPUT, SingleTurnParams.ACTUAL_OUTPUT],
            model=model,
        )
        await metric.a_measure(LLMTestCase(input=pair[0], actual_output=pair[1]), _show_indicator=False)
        return metric.score

    return concurrently(one, concurrency)


def mlflow(url: str, concurrency: int) -> Run:
    """`make_judge`, called from threads, since it has no asynchronous form."""
    from mlflow.genai.judges import make_judge

    judge = make_judge(
        name="principle",
        instructions=f"{PRINCIPLE}\n\nQuestion: {{{{ inputs }}}}\n\nAnswer: {{{{ outputs }}}}",
        model="openai:/judge",
        base_url=url,
        feedback_value_type=int,
    )

    def one(pair: Pair) -> bool:
        return judge(inputs={"question": pair[0]}, outputs={"answer": pair[1]}).value == 4

    def run(cases: list[Pair]) -> int:
        with ThreadPoolExecutor(concurrency) as pool:
            return sum(pool.map(one, cases))

    return run


ARMS: dict[str, tuple[Callable[[str, int], Run], str]] = {
    "ours": (ours, "verdict"),
    "ours_unstored": (ours_unstored, "verdict"),
    "ours_through_litellm": (ours_through_litellm, "verdict"),
    "ours_threads": (ours_threads, "verdict"),
    "litellm": (litellm_bare, "verdict"),
    "litellm_openai": (litellm_bare_openai, "verdict"),
    "openevals": (openevals, "openevals"),
    "openevals_client": (openevals_client, "openevals"),
    "deepeval": (deepeval, "deepeval"),
    "mlflow": (mlflow, "mlflow"),
}
"""Name -> its function, and the stub's reply that it expects."""


def main() -> None:
    """Measure once for each line of standard input."""
    arm, url, concurrency = sys.argv[1:]
    results, sys.stdout = sys.stdout, sys.stderr  # so that output of the libraries does not mix with ours
    run = ARMS[arm][0](url, int(concurrency))
    for line in sys.stdin:
        count, tag = line.split()
        cases = pairs(int(count), tag)
        wall, cpu = time.perf_counter(), time.process_time()
        judged = run(cases)
        took = {"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "judged": judged}
        print(json.dumps(took), file=results, flush=True)


if __name__ == "__main__":
    main()
