"""The judge as a Runnable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any

from langchain_core.runnables import RunnableConfig, RunnableSerializable
from pydantic import BaseModel, ConfigDict, Field, field_validator

from rewardanything_core import BaseJudge, Case, InvalidCaseError, JudgeFailure, Principle, Verdict
from rewardanything_core.errors import error_from_failure
from rewardanything_langchain.judging import judge_or_default
from rewardanything_langchain.texts import prompt_of, text_of

Outcome = Verdict | JudgeFailure
Judged = Verdict | list[Verdict]


class JudgeInput(BaseModel):
    """What a `JudgeRunnable` takes: a dict with these keys."""

    prompt: Any = Field(description="What the responses answer: text, messages, or a prompt value.")
    responses: Any = Field(description="The candidates: label -> response, or a list, which is labelled '0', '1', ...")
    principle: str | None = Field(None, description="What to prefer, where it is not set for all.")
    reference: str | None = Field(None, description="A good answer to compare with.")
    context: str | None = Field(None, description="Background that the judge should know.")
    id: str | None = Field(None, description="The caller's own name for the case.")


class JudgeRunnable(RunnableSerializable[dict[str, Any], Any]):
    """Judges dicts with ``prompt`` and ``responses`` (see `JudgeInput`) into a `Verdict` each.

    With several principles each dict is judged under every one, and becomes a list of verdicts in their order. A failed
    judgement raises, so that ``.with_retry()`` and ``.with_fallbacks()`` see it; in a batch with
    ``return_exceptions=True`` the exception takes the verdict's place. ``max_concurrency`` in the config limits the
    cases in flight.
    """

    principle: Any = None
    """What to prefer: a `Principle`, a string, or a list of them. None: each dict says its own."""

    judge: Any = Field(default=None, exclude=True)
    """Who judges. None: ``load_judge()``, made at the first judgement and shared by the process."""

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
        if value is not None and not isinstance(value, BaseJudge):
            raise ValueError(f"judge must be a Judge or Jury, not {type(value).__name__}.")
        return value

    @property
    def OutputType(self) -> Any:  # noqa: N802 - LangChain's name
        """A verdict, or a list of them where there are several principles."""
        return list[Verdict] if isinstance(self.principle, tuple) else Verdict

    def get_input_schema(self, config: RunnableConfig | None = None) -> type[BaseModel]:  # noqa: ARG002
        """`JudgeInput`."""
        return JudgeInput

    def invoke(self, input: dict[str, Any], config: RunnableConfig | None = None, **_: Any) -> Judged:  # noqa: A002
        """Judge one. Raises what ``Judge.judge`` raises."""
        judged: Judged = self._call_with_config(self._one, input, config, run_type="chain")
        return judged

    async def ainvoke(self, input: dict[str, Any], config: RunnableConfig | None = None, **_: Any) -> Judged:  # noqa: A002
        """`invoke`, awaited."""
        judged: Judged = await self._acall_with_config(self._aone, input, config, run_type="chain")
        return judged

    def batch(
        self,
        inputs: list[dict[str, Any]],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **_: Any,
    ) -> list[Any]:
        """Judge many in one batch of the judge."""
        many: Any = self._many  # LangChain passes what the signature asks for, which its own types do not say
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

    def stream(self, input: dict[str, Any], config: RunnableConfig | None = None, **_: Any) -> Iterator[Judged]:  # noqa: A002
        """`invoke`, as a stream of one."""
        yield from self.transform(iter([input]), config)

    async def astream(
        self,
        input: dict[str, Any],  # noqa: A002
        config: RunnableConfig | None = None,
        **_: Any,
    ) -> AsyncIterator[Judged]:
        """`ainvoke`, as a stream of one."""

        async def one() -> AsyncIterator[dict[str, Any]]:
            yield input

        async for judged in self.atransform(one(), config):
            yield judged

    def transform(
        self,
        input: Iterator[dict[str, Any]],  # noqa: A002
        config: RunnableConfig | None = None,
        **_: Any,
    ) -> Iterator[Judged]:
        """Wait for the whole dict, then judge it. It is here so that streaming emits the events that it should."""
        yield from self._transform_stream_with_config(input, self._transformed, config)

    async def atransform(
        self,
        input: AsyncIterator[dict[str, Any]],  # noqa: A002
        config: RunnableConfig | None = None,
        **_: Any,
    ) -> AsyncIterator[Judged]:
        """`transform`, awaited."""
        async for judged in self._atransform_stream_with_config(input, self._atransformed, config):
            yield judged

    # --- judging

    def _transformed(self, chunks: Iterator[Any]) -> Iterator[Judged]:
        yield self._one(reduce(_joined, chunks))

    async def _atransformed(self, chunks: AsyncIterator[Any]) -> AsyncIterator[Judged]:
        yield await self._aone(reduce(_joined, [chunk async for chunk in chunks]))

    def _one(self, value: dict[str, Any]) -> Judged:
        return self._judged(judge_or_default(self.judge).judge_batch(self._cases(value)))

    async def _aone(self, value: dict[str, Any]) -> Judged:
        judge = await asyncio.to_thread(judge_or_default, self.judge)
        return self._judged(await judge.ajudge_batch(self._cases(value)))

    def _many(self, inputs: list[dict[str, Any]], config: list[RunnableConfig]) -> list[Judged | Exception]:
        layout = [self._cases_or_error(value) for value in inputs]
        cases = [case for entry in layout if isinstance(entry, list) for case in entry]
        window = config[0].get("max_concurrency") or max(1, len(cases))
        outcomes = dict(judge_or_default(self.judge).judge_stream(cases, window=window))
        return self._laid_out(layout, [outcomes[index] for index in range(len(cases))])

    async def _amany(self, inputs: list[dict[str, Any]], config: list[RunnableConfig]) -> list[Judged | Exception]:
        layout = [self._cases_or_error(value) for value in inputs]
        cases = [case for entry in layout if isinstance(entry, list) for case in entry]
        judge = await asyncio.to_thread(judge_or_default, self.judge)
        limit = config[0].get("max_concurrency")
        if not limit:
            return self._laid_out(layout, await judge.ajudge_batch(cases))
        free = asyncio.Semaphore(limit)

        async def one(case: Case) -> Outcome:
            async with free:
                (outcome,) = await judge.ajudge_batch([case])
                return outcome

        return self._laid_out(layout, list(await asyncio.gather(*map(one, cases))))

    # --- between dicts and cases

    def _cases(self, value: Any) -> list[Case]:
        if not isinstance(value, Mapping):
            raise InvalidCaseError(
                f"JudgeRunnable takes a dict with 'prompt' and 'responses', not {type(value).__name__}.", field="case"
            )
        given = {"principle": self.principle, **{k: v for k, v in value.items() if v is not None}}
        if given["principle"] is None:
            raise InvalidCaseError(
                "There is no principle: give JudgeRunnable one, or put 'principle' into the dict.", field="principle"
            )
        for part, read in (("prompt", prompt_of), ("responses", _responses)):
            if part in given:
                given[part] = read(given[part])
        return [Case.of({**given, "principle": principle}) for principle in Principle.several(given["principle"])]

    def _cases_or_error(self, value: Any) -> list[Case] | InvalidCaseError:
        try:
            return self._cases(value)
        except InvalidCaseError as error:
            return error

    def _judged(self, outcomes: list[Outcome]) -> Judged:
        verdicts = []
        for outcome in outcomes:
            if isinstance(outcome, JudgeFailure):
                raise error_from_failure(outcome)
            verdicts.append(outcome)
        return verdicts if isinstance(self.principle, tuple) else verdicts[0]

    def _laid_out(
        self, layout: list[list[Case] | InvalidCaseError], outcomes: list[Outcome]
    ) -> list[Judged | Exception]:
        """For each input its verdicts, or the exception that stands for them."""
        results: list[Judged | Exception] = []
        rest = iter(outcomes)
        for entry in layout:
            if isinstance(entry, InvalidCaseError):
                results.append(entry)
                continue
            try:
                results.append(self._judged([next(rest) for _ in entry]))
            except Exception as error:  # noqa: BLE001 - it is handed over, not dropped
                results.append(error)
        return results


def _joined(whole: Any, chunk: Any) -> Any:
    """Chunks of a dict add up; whatever does not is replaced, as LangChain does it."""
    try:
        return whole + chunk
    except TypeError:
        return chunk


def _responses(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {label: text_of(response) for label, response in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [text_of(response) for response in value]
    return value
