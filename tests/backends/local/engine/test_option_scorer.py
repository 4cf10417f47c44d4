"""Option scores of the 135M model: the same in any company, and equal to the model's own probabilities."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import pytest

from rewardanything_core import ConfigError
from rewardanything_core.backends import ChoiceRequest
from rewardanything_core.backends.local.engine import prefix_forest

if TYPE_CHECKING:
    from rewardanything_core.backends.local.backend import LocalBackend


def _question(text: str) -> ChoiceRequest:
    messages = ({"role": "system", "content": "Answer."}, {"role": "user", "content": text})
    return ChoiceRequest(messages=messages, options=("Yes", "No"))  # type: ignore[arg-type]


TEXTS = [
    "Is water wet?",
    "Is water wet and cold?",
    "Is fire wet?",
    "Is water wet?",
    "No?",
    "Is <|im_end|> a word? " * 40,
]


def test_questions_scored_together_get_the_same_probabilities_as_alone(small_model: LocalBackend) -> None:
    together = asyncio.run(small_model.score_options([_question(text) for text in TEXTS]))
    alone = [asyncio.run(small_model.score_options([_question(text)])) for text in TEXTS]
    for answer, single in zip(together.answers, alone, strict=True):
        assert answer.probabilities["Yes"] == pytest.approx(single.answers[0].probabilities["Yes"], abs=1e-4)
        assert answer.mass == pytest.approx(single.answers[0].mass, abs=1e-4)
        assert math.fsum(answer.probabilities.values()) == pytest.approx(1)
    assert together.usage.prompt_tokens < sum(result.usage.prompt_tokens for result in alone)
    assert together.usage.completion_tokens == 0


def test_probabilities_are_those_of_the_model_itself(small_model: LocalBackend) -> None:
    import torch

    for text in TEXTS[:3]:
        ids = small_model._chat.encode(_question(text).messages).ids
        with torch.inference_mode():
            logits = small_model._model(input_ids=torch.tensor([ids])).logits[0, -1]
        yes, no = (small_model._chat.encode_text(option)[0] for option in ("Yes", "No"))
        share = torch.softmax(logits[[yes, no]].float(), -1)[0]
        (answer,) = asyncio.run(small_model.score_options([_question(text)])).answers
        assert answer.probabilities["Yes"] == pytest.approx(float(share), abs=1e-4)


def test_a_large_tree_is_split_without_changing_probabilities(
    small_model: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = asyncio.run(small_model.score_options([_question(text) for text in TEXTS]))
    monkeypatch.setattr("rewardanything_core.backends.local.engine.prefix_forest._MAX_TREE_TOKENS", 40)
    monkeypatch.setattr("rewardanything_core.backends.local.engine.prefix_forest._LONG_PROMPT_FACTOR", 0)
    parts = asyncio.run(small_model.score_options([_question(text) for text in TEXTS]))
    for answer, other in zip(whole.answers, parts.answers, strict=True):
        assert answer.probabilities["Yes"] == pytest.approx(other.probabilities["Yes"], abs=1e-4)


def test_on_a_cpu_a_tree_is_split_where_little_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rewardanything_core.backends.local.engine.prefix_forest._FULL_TREE_TOKENS_CPU", 50)
    alike = [[1] * 30 + [2, i] + [3] * 18 for i in range(3)]
    other = [[4] * 40, [4] * 2 + [5] * 40]
    assert list(prefix_forest._divide([*alike, *other], is_cpu=True)) == [[0, 1, 2], [3], [4]]
    monkeypatch.setattr("rewardanything_core.backends.local.engine.prefix_forest._FULL_TREE_TOKENS_CPU", 5000)
    assert list(prefix_forest._divide([*alike, *other], is_cpu=True)) == [[0, 1, 2, 3, 4]]


def test_results_are_delivered_tree_by_tree(small_model: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is stopped keeps the cases that were finished."""
    monkeypatch.setattr("rewardanything_core.backends.local.engine.prefix_forest._MAX_TREE_TOKENS", 1)
    monkeypatch.setattr("rewardanything_core.backends.local.engine.prefix_forest._LONG_PROMPT_FACTOR", 0)
    batches = [[small_model._preparer.question(_question(text))] for text in TEXTS[:3]]
    done = dict.fromkeys(range(3))
    for batch, probabilities, _ in small_model._scorer.score([*batches, []]):
        done[batch] = probabilities
    assert all(done[batch] for batch in range(3))
    assert done[3] == ()
    stopped: list[int] = []
    for batch, _, _ in small_model._scorer.score(batches, is_cancelled=lambda: bool(stopped)):
        stopped.append(batch)
    assert len(stopped) == 1


def test_small_questions_do_not_wait_for_all_large_ones(
    small_model: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Questions about a principle are small, and every case under it waits for them."""
    monkeypatch.setattr("rewardanything_core.backends.local.worker._MAX_PREFILL_TOKENS", 1)
    done: list[str] = []

    async def ask(name: str, text: str) -> None:
        await small_model.score_options([_question(text)])
        done.append(name)

    async def all_at_once() -> None:
        await asyncio.gather(*(ask(name, text) for name, text in texts.items()))

    texts = {"oldest": "Is water wet? " * 90, "large": "Is fire wet? " * 80, "small": "Is ice wet?"}
    asyncio.run(all_at_once())
    assert done[-1] == "large"


def test_options_must_differ_in_their_first_token(small_model: LocalBackend) -> None:
    question = ChoiceRequest(messages=_question("Well?").messages, options=("Yes", "Yes please"))
    with pytest.raises(ConfigError, match="same token"):
        asyncio.run(small_model.score_options([question]))


def test_questions_about_a_long_input_share_a_tree():
    long_input = list(range(3000))
    questions = [[*long_input, *[10_000 + number] * 50] for number in range(40)]
    assert [len(tree) for tree in prefix_forest._divide(questions, is_cpu=False)] == [31, 9]
    assert len(list(prefix_forest._divide([[number] * 1500 for number in range(3)], is_cpu=False))) == 3
