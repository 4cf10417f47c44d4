"""A scripted model whose answers follow from a few words, for tests of the logits readout."""

from __future__ import annotations

from collections.abc import Mapping

from rewardanything_core.backends import ChoiceRequest
from rewardanything_core.readouts.pointwise.questions import question_set

BRIEF, WORDY = "Prefer short replies.", "Prefer long replies."


def answers(question: ChoiceRequest) -> Mapping[str, float]:
    """Tells good responses from bad ones by that word, and knows which principle wants which length."""
    text = question.messages[-1]["content"]
    if question.options == ("Good", "Bad"):
        preference = (BRIEF in text) * -1 + (WORDY in text)
        good = 0.5 + 0.4 * preference * (("is long" in text) - ("is short" in text))
        return {"Good": good, "Bad": 1 - good}
    examples = question_set().examples
    yes = 0.5
    if any(f"Response: {example.fits}" in text for example in examples) or "Response: good" in text:
        yes = 0.8
    if any(f"Response: {example.breaks}" in text for example in examples) or "Response: bad" in text:
        yes = 0.2
    return {"Yes": yes, "No": 1 - yes}
