"""Best of n by one listwise verdict, as a Runnable."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.runnables import Runnable, RunnableConfig, RunnableSerializable, patch_config
from pydantic import ConfigDict, Field

from rewardanything_langchain.runnable import JudgeRunnable
from rewardanything_langchain.texts import Selector, prompt_of, select, text_of


class BestOfN(RunnableSerializable[Any, Any]):
    """Runs a Runnable n times on the same input and returns the output that the judge ranks first.

    Failed candidates are left out, and equal ones are judged once. It raises if all failed, or if the judge did. The
    model has to sample: set its temperature, and switch LangChain's cache off for it.
    """

    candidates: Runnable[Any, Any]
    """What to sample from: a chain, or a model."""

    principle: Any
    """What to prefer: a `Principle` or a string."""

    n: int = Field(default=4, ge=1)
    """How many candidates."""

    judge: Any = Field(default=None, exclude=True)
    """Who judges. None: ``load_judge()``, made at the first judgement and shared by the process."""

    prompt: Any = None
    """The input's key that was asked, or a function of the input. None: all of it."""

    response: Any = None
    """The output's key to judge, or a function of the output. None: all of it, or its only entry."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    @property
    def InputType(self) -> Any:  # noqa: N802 - LangChain's name
        """That of the candidates' Runnable."""
        return self.candidates.InputType

    @property
    def OutputType(self) -> Any:  # noqa: N802 - LangChain's name
        """That of the candidates' Runnable."""
        return self.candidates.OutputType

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """Sample, judge, and return the best output."""
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

    def _distinct(self, outputs: list[Any]) -> dict[str, Any]:
        """Text -> output, for every different text."""
        selector: Selector = self.response
        good = [output for output in outputs if not isinstance(output, BaseException)]
        if not good:
            raise outputs[0]
        distinct: dict[str, Any] = {}
        for output in good:
            distinct.setdefault(text_of(select(output, selector, "outputs")), output)
        return distinct

    def _case(self, value: Any, distinct: dict[str, Any]) -> dict[str, Any]:
        return {"prompt": prompt_of(select(value, self.prompt, "inputs")), "responses": list(distinct)}
