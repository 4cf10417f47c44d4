"""The reward of a judge's completions for TRL's trainers. TRL is not imported: it calls the reward by keyword."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from rewardanything_core import ConfigError
from rewardanything_core.conversations import response_text
from rewardanything_rl.judge_training.rewards import Attempt, AttemptReward, RewardRules, batch_rewards
from rewardanything_rl.texts import response_of

_COLUMNS = ("labels", "pairs", "case")


class JudgeReward:
    """How well a judge's completions order the responses, for ``reward_funcs`` of GRPO and RLOO.

    Args:
        rules: What is rewarded. None: `RewardRules()`.
        thinking_opened: Whether the chat template opens the think block, as those of some reasoning models do.
        name: The reward's name in the trainer's metrics.
    """

    def __init__(self, rules: RewardRules | None = None, *, thinking_opened: bool = False, name: str = "judge") -> None:
        self.rules = rules or RewardRules()
        self.__name__ = name  # TRL names metrics by it
        self._opening = "<think>\n" if thinking_opened else ""

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
        """The reward of each completion, 0..1.

        Args:
            prompts: The prompts of `training_rows`, one for each completion.
            completions: Texts or chat messages.
            **columns: The data set's other columns, of which ``labels``, ``pairs`` and ``case`` are needed, and the
                trainer's ``log_metric`` and ``log_extra``.

        Raises:
            ConfigError: a column is missing, or is not one of `training_rows`.
        """
        if missing := [name for name in _COLUMNS if columns.get(name) is None]:
            raise ConfigError(
                f"The data set has no column {', '.join(map(repr, missing))}; make it with training_rows()."
            )
        for name, values in {"prompts": prompts, **{name: columns[name] for name in _COLUMNS}}.items():
            if len(values) != len(completions):
                raise ConfigError(f"There are {len(values)} {name} for {len(completions)} completions.")
        attempts = [
            Attempt.of_row(self._opening + response_text(response_of(completion, "keep")), labels, pairs, case)
            for completion, labels, pairs, case in zip(completions, *(columns[name] for name in _COLUMNS), strict=True)
        ]
        rewards = batch_rewards(attempts, self.rules)
        self._log(rewards, columns.get("log_metric"), columns.get("log_extra"))
        return [one.reward for one in rewards]

    def _log(
        self,
        rewards: Sequence[AttemptReward],
        log_metric: Callable[[str, float], None] | None,
        log_extra: Callable[[str, list[Any]], None] | None,
    ) -> None:
        if log_extra is not None:
            log_extra(f"{self.__name__}/parsed", [one.parsed for one in rewards])
            log_extra(f"{self.__name__}/listwise", [one.listwise for one in rewards])
        if log_metric is None or not rewards:
            return
        log_metric(f"{self.__name__}/parsed", fmean(one.parsed for one in rewards))
        verdicts = [one for one in rewards if one.parsed]
        for field in ("listwise", "consistent", "thinking"):
            values = [value for one in verdicts if (value := getattr(one, field)) is not None]
            if values:
                log_metric(f"{self.__name__}/{field}", fmean(values))

    def __repr__(self) -> str:
        return f"JudgeReward({self.rules})"
