"""Best-of-n sampling with one listwise verdict, as a Runnable."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.runnables import Runnable, RunnableConfig, RunnableSerializable, patch_config
from pydantic import ConfigDict, Field, field_validator

from rewardanything_core import resolve_judge
from rewardanything_core.conversations import Response
from rewardanything_langchain.runnable import JudgeRunnable
from rewardanything_langchain.texts import Selector, prompt_of, response_of, select


class BestOfN(RunnableSerializable[Any, Any]):
    """Runs a Runnable n times on the same input and returns the output that the judge ranks first.

    Candidates that raise are left out, and equal ones are judged once; tool calls count. It raises if all candidates
    raise, if one cannot be judged as text, or if the judge fails. The model has to sample: set a temperature above 0,
    and disable LangChain's cache for it.
    """

    candidates: Runnable[Any, Any]
    """The chain or model to sample from."""

    principle: Any
    """What to judge by: a `Principle` or a string."""

    n: int = Field(default=4, ge=1)
    """Number of candidates."""

    judge: Any = Field(default=None, exclude=True)
    """The judge, or a model string. None: the process's default judge, loaded when first needed."""

    prompt: Any = None
    """The input's key with the prompt, or a function of the input. None: its only entry, or all of it."""

    response: Any = None
    """The output's key to judge, or a function of the output. None: its only entry, or all of it."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    @field_validator("judge")
    @classmethod
    def _is_judge(cls, value: Any) -> Any:
        return resolve_judge(value)

    @property
    def InputType(self) -> Any:  # noqa: N802 - LangChain's name
        """The type of the candidates' Runnable."""
        return self.candidates.InputType

    @property
    def OutputType(self) -> Any:  # noqa: N802 - LangChain's name
        """The type of the candidates' Runnable."""
        return self.candidates.OutputType

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """Sample, judge, and return the best output.

        Args:
            input: The input of the candidates' Runnable.
            config: LangChain's configuration of the run.
            **kwargs: Passed on to the candidates' Runnable.

        Raises:
            RewardAnythingError: a candidate cannot be judged, or the judge failed.
            Exception: all candidates raised; this is the first one's exception.
        """
        return self._call_with_config(self._best, input, config, **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """`invoke`, awaited."""
        return await self._acall_with_config(self._abest, input, config, **kwargs)

    def _best(self, value: Any, run_manager: CallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any) -> Any:
        config = patch_config(config, callbacks=run_manager.get_child())
        outputs = self.candidates.batch([value] * self.n, config, return_exceptions=True, **kwargs)
        distinct = self._distinct(outputs)
        if len(distinct) == 1:
            return next(iter(distinct.values()))
        verdict = self._judge().invoke(self._case(value, distinct), config)
        return list(distinct.values())[int(verdict.best)]  # type: ignore[union-attr]  # one principle, one verdict

    async def _abest(
        self, value: Any, run_manager: AsyncCallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> Any:
        config = patch_config(config, callbacks=run_manager.get_child())
        outputs = await self.candidates.abatch([value] * self.n, config, return_exceptions=True, **kwargs)
        distinct = self._distinct(outputs)
        if len(distinct) == 1:
            return next(iter(distinct.values()))
        verdict = await self._judge().ainvoke(self._case(value, distinct), config)
        return list(distinct.values())[int(verdict.best)]  # type: ignore[union-attr]  # one principle, one verdict

    def _judge(self) -> JudgeRunnable:
        return JudgeRunnable(principle=self.principle, judge=self.judge)

    def _distinct(self, outputs: list[Any]) -> dict[Response, Any]:
        """Response -> output, for each distinct response."""
        selector: Selector = self.response
        successful = [output for output in outputs if not isinstance(output, BaseException)]
        if not successful:
            raise outputs[0]
        distinct: dict[Response, Any] = {}
        for output in successful:
            distinct.setdefault(response_of(select(output, selector, "outputs")), output)
        return distinct

    def _case(self, value: Any, distinct: dict[Response, Any]) -> dict[str, Any]:
        return {"prompt": prompt_of(select(value, self.prompt, "inputs")), "responses": list(distinct)}
