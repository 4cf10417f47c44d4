"""Programs, judges and models for the tests of the DSPy integration."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import dspy
from servers import FakeOpenAI, score_text

from rewardanything_core import Judge, ScriptedBackend
from rewardanything_core.backends import verdict_reply

PRINCIPLE = "The higher the number in the answer, the better."


class Echo(dspy.Module):
    """Answers with the question, without a model."""

    def forward(self, question: str) -> Any:
        return dspy.Prediction(answer=question)


def scripted(score: Callable[[str], float] = score_text, *, fails: Callable[[str], bool] = lambda text: False) -> Judge:
    """A judge that scores each response with a function, and fails where ``fails`` says so."""

    def reply(request: Any) -> Any:
        texts = json.loads(request.messages[1]["content"])["responses"]
        if any(map(fails, texts.values())):
            return "I would rather not say."
        return verdict_reply({name: score(text) for name, text in texts.items()}, thoughts=f"I read {texts!r}.")

    return Judge(ScriptedBackend(reply), cache="off", retries=0)


def judged_texts(judge: Judge) -> list[str]:
    """The responses that a scripted judge was asked about, in order."""
    backend: Any = judge.backend
    cases = [json.loads(request.messages[1]["content"]) for request in backend.requests]
    return [text for case in cases for text in case["responses"].values()]


def example(question: Any, **fields: Any) -> Any:
    """An example with the input ``question``."""
    return dspy.Example(question=question, **fields).with_inputs("question")


def items() -> list[Any]:
    """Examples whose questions have the numbers 1 to 4."""
    return [example(f"item {1 + i % 4}, number {'abcdefghijkl'[i]}") for i in range(12)]


def chat_lm(server: FakeOpenAI, **options: Any) -> Any:
    """A model of DSPy behind the server."""
    return dspy.LM("hosted_vllm/task", api_base=server.url, api_key="none", cache=False, **options)


def five_or_item(text: str) -> str:
    """An answer that is good if the instruction says FIVE."""
    return "five 5" if "FIVE" in text else f"item {re.findall(r'item (.)', text)[-1]}"


def improvable_lm(
    server: FakeOpenAI,
    answer: Callable[[str], str] = five_or_item,
    propose: Callable[[str], str] = lambda text: "Say FIVE.",
) -> Any:
    """A task model that answers by its instruction, and as an optimiser's model proposes instructions.

    Args:
        server: The server it is behind.
        answer: The answer to a request.
        propose: The instruction to a request for one.
    """

    def reply(body: Any) -> str:
        text = "\n".join(message["content"] for message in body["messages"])
        if "[[ ## answer ## ]]" in text:
            return f"[[ ## answer ## ]]\n{answer(text)}\n\n[[ ## completed ## ]]"
        proposal = propose(text)
        if "new_instruction" in text:
            return json.dumps({"new_instruction": proposal})
        wanted = text.rpartition("Respond with the corresponding output fields")[2]
        fields = re.findall(r"\[\[ ## (\w+) ## \]\]", wanted)
        # GEPA before DSPy 3.3 wants its instruction between fences.
        return "".join(f"[[ ## {name} ## ]]\n{proposal}\n\n" for name in fields) or f"```\n{proposal}\n```"

    server.reply = reply
    return chat_lm(server)


def clean_settings(server: FakeOpenAI) -> Iterator[None]:
    """Run a test without a model and with an empty trace. To be made a fixture.

    When a run is stopped, DSPy's threads continue with the other rows, so wait for them before the server stops.
    """
    before = set(threading.enumerate())
    with dspy.context(lm=None, trace=[]):
        yield
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("ThreadPoolExecutor"):
            thread.join(60)
