"""The judge as a Runnable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any, TypeAlias

from langchain_core.runnables import RunnableConfig, RunnableSerializable
from pydantic import BaseModel, ConfigDict, Field, field_validator

from rewardanything_core import (
    Case,
    InvalidCaseError,
    JudgeFailure,
    Message,
    Principle,
    Verdict,
    default_judge,
    resolve_judge,
)
from rewardanything_core.errors import error_from_failure
from rewardanything_langchain.judging import Outcome
from rewardanything_langchain.texts import prompt_of, response_of

Result: TypeAlias = Verdict | list[Verdict]


class JudgeInput(BaseModel):
    """The input of a `JudgeRunnable`: a dict with these keys."""

    prompt: Any = Field(description="What the responses answer: text, messages, or a prompt value.")
    responses: Any = Field(description="The candidates: label -> response, or a list, which is labelled '0', '1', ...")
    principle: str | dict[str, Any] | None = Field(
        None, description="What to judge by, where the runnable has no principle: a text, or a rubric as plain JSON."
    )
    reference: str | None = Field(None, description="A reference answer that the judge sees.")
    context: str | None = Field(None, description="Source material that the judge sees.")
    id: str | None = Field(None, description="Your own id of the case, returned in the verdict.")


class JudgeRunnable(RunnableSerializable[dict[str, Any], Any]):
    """Judges dicts with ``prompt`` and ``responses`` (see `JudgeInput`); each becomes a `Verdict`.

    With several principles, each dict is judged under every one and becomes a list of verdicts in their order. A failed
    judgement raises, so that ``.with_retry()`` and ``.with_fallbacks()`` see it. In a batch with
    ``return_exceptions=True``, the exception takes the place of the verdict. ``max_concurrency`` in the config limits
    the cases in flight.
    """

    principle: Any = None
    """What to judge by: a `Principle`, a `Rubric`, a string, or a list of them. None: each dict has its own."""

    judge: Any = Field(default=None, exclude=True)
    """The judge, or a model string. None: the process's default judge, loaded when first needed."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    @field_validator("principle")
    @classmethod
    def _checked(cls, value: Any) -> Any:
        if value is None:
            return None
        checked = Principle.several(value)
        return checked if isinstance(value, Sequence) and not isinstance(value, str) else checked[0]

    @field_validator("judge")
    @classmethod
    def _is_judge(cls, value: Any) -> Any:
        return resolve_judge(value)

    @property
    def OutputType(self) -> Any:  # noqa: N802 - LangChain's name
        """A verdict, or a list of verdicts if there are several principles."""
        return list[Verdict] if isinstance(self.principle, tuple) else Verdict

    def get_input_schema(self, config: RunnableConfig | None = None) -> type[BaseModel]:  # noqa: ARG002
        """`JudgeInput`."""
        return JudgeInput

    def invoke(self, input: dict[str, Any], config: RunnableConfig | None = None, **_: Any) -> Result:  # noqa: A002
        """Judge one dict.

        Args:
            input: A dict as `JudgeInput` describes it.
            config: LangChain's configuration of the run.

        Raises:
            RewardAnythingError: whatever ``Judge.judge`` raises.
        """
        result: Result = self._call_with_config(self._one, input, config, run_type="chain")
        return result

    async def ainvoke(self, input: dict[str, Any], config: RunnableConfig | None = None, **_: Any) -> Result:  # noqa: A002
        """`invoke`, awaited."""
        result: Result = await self._acall_with_config(self._aone, input, config, run_type="chain")
        return result

    def batch(
        self,
        inputs: list[dict[str, Any]],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **_: Any,
    ) -> list[Any]:
        """Judge many dicts in one batch of the judge.

        Args:
            inputs: Dicts as `JudgeInput` describes them.
            config: LangChain's configuration of the run, or one for each input.
            return_exceptions: Whether an input that could not be judged gives its exception in place of a verdict.
        """
        many: Any = self._many  # LangChain passes the arguments that the signature names; its own types do not show it
        return self._batch_with_config(many, inputs, config, return_exceptions=return_exceptions, run_type="chain")

    async def abatch(
        self,
        inputs: list[dict[str, Any]],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **_: Any,
    ) -> list[Any]:
        """`batch`, awaited."""
        many: Any = self._amany
        return await self._abatch_with_config(
            many, inputs, config, return_exceptions=return_exceptions, run_type="chain"
        )

    def stream(self, input: dict[str, Any], config: RunnableConfig | None = None, **_: Any) -> Iterator[Result]:  # noqa: A002
        """`invoke` as a stream with one item."""
        yield from self.transform(iter([input]), config)

    async def astream(
        self,
        input: dict[str, Any],  # noqa: A002
        config: RunnableConfig | None = None,
        **_: Any,
    ) -> AsyncIterator[Result]:
        """`ainvoke` as a stream with one item."""

        async def one() -> AsyncIterator[dict[str, Any]]:
            yield input

        async for result in self.atransform(one(), config):
            yield result

    def transform(
        self,
        input: Iterator[dict[str, Any]],  # noqa: A002
        config: RunnableConfig | None = None,
        **_: Any,
    ) -> Iterator[Result]:
        """Collect the whole dict, then judge it. Without this method, streaming would not emit all of its events.

        Args:
            input: Chunks of a dict as `JudgeInput` describes it.
            config: LangChain's configuration of the run.
        """
        yield from self._transform_stream_with_config(input, self._transformed, config)

    async def atransform(
        self,
        input: AsyncIterator[dict[str, Any]],  # noqa: A002
        config: RunnableConfig | None = None,
        **_: Any,
    ) -> AsyncIterator[Result]:
        """`transform`, awaited."""
        async for result in self._atransform_stream_with_config(input, self._atransformed, config):
            yield result

    # --- judging

    def _transformed(self, chunks: Iterator[Any]) -> Iterator[Result]:
        yield self._one(reduce(_combined, chunks))

    async def _atransformed(self, chunks: AsyncIterator[Any]) -> AsyncIterator[Result]:
        yield await self._aone(reduce(_combined, [chunk async for chunk in chunks]))

    def _one(self, value: dict[str, Any]) -> Result:
        return self._result((self.judge or default_judge()).judge_batch(self._cases(value)))

    async def _aone(self, value: dict[str, Any]) -> Result:
        judge = self.judge or await asyncio.to_thread(default_judge)
        return self._result(await judge.ajudge_batch(self._cases(value)))

    def _many(self, inputs: list[dict[str, Any]], config: list[RunnableConfig]) -> list[Result | Exception]:
        cases_of = [self._cases_or_error(value) for value in inputs]
        cases = [case for entry in cases_of if isinstance(entry, list) for case in entry]
        window = config[0].get("max_concurrency") or max(1, len(cases))
        outcomes = dict((self.judge or default_judge()).judge_stream(cases, window=window))
        return self._results(cases_of, [outcomes[index] for index in range(len(cases))])

    async def _amany(self, inputs: list[dict[str, Any]], config: list[RunnableConfig]) -> list[Result | Exception]:
        cases_of = [self._cases_or_error(value) for value in inputs]
        cases = [case for entry in cases_of if isinstance(entry, list) for case in entry]
        window = config[0].get("max_concurrency") or max(1, len(cases))
        judge = self.judge or await asyncio.to_thread(default_judge)
        outcomes = {index: outcome async for index, outcome in judge.ajudge_stream(cases, window=window)}
        return self._results(cases_of, [outcomes[index] for index in range(len(cases))])

    # --- between dicts and cases

    def _cases(self, value: Any) -> list[Case]:
        if not isinstance(value, Mapping):
            raise InvalidCaseError(
                f"JudgeRunnable takes a dict with 'prompt' and 'responses', not {type(value).__name__}.", field="case"
            )
        fields = {"principle": self.principle, **{k: v for k, v in value.items() if v is not None}}
        if fields["principle"] is None:
            raise InvalidCaseError(
                "There is no principle: set principle= on JudgeRunnable, or put 'principle' into the dict.",
                field="principle",
            )
        if "prompt" in fields:
            fields["prompt"] = prompt_of(fields["prompt"])
        if "responses" in fields:
            fields["responses"] = _responses(fields["responses"], fields.get("prompt", ""))
        return [Case.of({**fields, "principle": principle}) for principle in Principle.several(fields["principle"])]

    def _cases_or_error(self, value: Any) -> list[Case] | Exception:
        try:
            return self._cases(value)
        except Exception as error:  # noqa: BLE001 - it takes the place of this input's verdict
            return error

    def _result(self, outcomes: list[Outcome]) -> Result:
        verdicts = []
        for outcome in outcomes:
            if isinstance(outcome, JudgeFailure):
                raise error_from_failure(outcome)
            verdicts.append(outcome)
        return verdicts if isinstance(self.principle, tuple) else verdicts[0]

    def _results(self, cases_of: list[list[Case] | Exception], outcomes: list[Outcome]) -> list[Result | Exception]:
        """For each input its verdicts, or the exception in their place."""
        results: list[Result | Exception] = []
        remaining = iter(outcomes)
        for cases in cases_of:
            if isinstance(cases, Exception):
                results.append(cases)
                continue
            try:
                results.append(self._result([next(remaining) for _ in cases]))
            except Exception as error:  # noqa: BLE001 - it takes the place of this input's verdict
                results.append(error)
        return results


def _combined(whole: Any, chunk: Any) -> Any:
    """Chunks of a dict are added; a chunk that cannot be added replaces the value, as in LangChain."""
    try:
        return whole + chunk
    except TypeError:
        return chunk


def _responses(value: Any, prompt: str | list[Message]) -> Any:
    if isinstance(value, Mapping):
        return {label: response_of(response, prompt=prompt) for label, response in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [response_of(response, prompt=prompt) for response in value]
    return value
