"""Answers of a judge's model to typed questions, which are about any input and need no principle."""

from __future__ import annotations

import asyncio
import dataclasses

from rewardanything_core.backends.budget import spending
from rewardanything_core.concurrency import background_loop
from rewardanything_core.decisions import Answer, DecisionRequest, DecisionResponse, DecisionUsage
from rewardanything_core.errors import NoProbabilitiesError, RewardAnythingError
from rewardanything_core.judging.base import BaseJudge
from rewardanything_core.judging.judge import Judge
from rewardanything_core.judging.jury import Jury
from rewardanything_core.prompting.typed_questions import check_text_only, input_text
from rewardanything_core.readouts.typed_questions import TypedQuestionReadout, pooled
from rewardanything_core.types import Message, Usage


async def answer_questions(judge: BaseJudge, request: DecisionRequest) -> DecisionResponse:
    """The answers of a judge's model to the questions of a request, with their probabilities.

    A decision model is passed the questions. Any other model is asked for the probabilities of its answers. The answers
    of a jury are the weighted means of its jurors' answers. Nothing is stored, and options for verdicts (passes,
    calibration, screening) do not apply. Cancelling it cancels its requests.

    Args:
        judge: A judge or a jury.
        request: The request; its ``model`` is not looked at.

    Raises:
        DecisionFormatError: the request has images.
        NoProbabilitiesError: the model gives no probabilities of its answers, or the judge is neither a single model
            nor a jury.
        ContextLengthError: the input and a question exceed the model's context window.
        BudgetExceededError: what the judge may spend is used up.
        BackendError: the model could not be called, or failed.
    """
    return await asyncio.wrap_future(background_loop.submit(_response(judge, request)))


def check_answers_questions(judge: BaseJudge) -> None:
    """Check that `answer_questions` may work, as far as that is known without asking the model.

    Raises:
        NoProbabilitiesError: it cannot.
    """
    if isinstance(judge, Jury):
        for juror in judge.jurors:
            check_answers_questions(juror)
    elif not isinstance(judge, Judge):
        raise NoProbabilitiesError(
            f"A {type(judge).__name__} does not answer typed questions.",
            hint="Serve a judge with one model, or a jury.",
        )
    elif judge.readout != "decisions" and not judge.backend.supports_option_scores:
        raise NoProbabilitiesError(
            f"{judge.model} gives no probabilities of its answers, which typed questions need.",
            hint="Serve a model on this machine, behind a server that returns log-probabilities (such as vLLM), or a "
            "decision model.",
        )


async def _response(judge: BaseJudge, request: DecisionRequest) -> DecisionResponse:
    check_answers_questions(judge)
    check_text_only(request)
    answers, usage = await _answers(judge, request)
    return DecisionResponse(
        model=judge.model,
        answers=answers,
        usage=DecisionUsage(input_tokens=usage.prompt_tokens, output_tokens=usage.completion_tokens),
    )


async def _answers(judge: BaseJudge, request: DecisionRequest) -> tuple[tuple[Answer, ...], Usage]:
    if isinstance(judge, Jury):
        return await _answers_of_jury(judge, request)
    assert isinstance(judge, Judge)
    spent: list[Usage] = []
    with spending(judge.budget):
        try:
            if judge.readout == "decisions":
                answers = await _decided(judge, request, spent)
            else:
                answers = await TypedQuestionReadout(judge.metered_backend).answer(request, on_usage=spent.append)
        except RewardAnythingError as error:
            spent += [error.usage] if error.usage is not None else []
            raise
        finally:
            usage = sum(spent, Usage())
            judge._usage += usage
    return answers, usage


async def _decided(judge: Judge, request: DecisionRequest, spent: list[Usage]) -> tuple[Answer, ...]:
    """The answers of a decision model. Backends want names that differ, so the questions are numbered."""
    numbered = [dataclasses.replace(question, name=str(index)) for index, question in enumerate(request.questions)]
    result = await judge.metered_backend.decide(Message(role="user", content=input_text(request)), numbered)
    spent.append(result.usage)
    return tuple(
        dataclasses.replace(answer, name=question.name)
        for question, answer in zip(request.questions, result.answers, strict=True)
    )


async def _answers_of_jury(jury: Jury, request: DecisionRequest) -> tuple[tuple[Answer, ...], Usage]:
    """The pooled answers of the jurors that answer; as for verdicts, ``min_jurors`` must."""
    outcomes = await background_loop.gather(_answers_or_error(juror, request) for juror in jury.jurors)
    given = [
        (*outcome, weight)
        for outcome, weight in zip(outcomes, jury.weights, strict=True)
        if not isinstance(outcome, RewardAnythingError)
    ]
    if len(given) < jury.min_jurors:
        raise next(outcome for outcome in outcomes if isinstance(outcome, RewardAnythingError))
    answers = pooled(request.questions, [each for each, _, _ in given], [weight for _, _, weight in given])
    return answers, sum((usage for _, usage, _ in given), Usage())


async def _answers_or_error(
    juror: BaseJudge, request: DecisionRequest
) -> tuple[tuple[Answer, ...], Usage] | RewardAnythingError:
    try:
        return await _answers(juror, request)
    except RewardAnythingError as error:
        return error
