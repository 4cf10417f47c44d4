"""The judge: a backend and options. Its public methods are those of `BaseJudge`."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from rewardanything_core.agreement.calibration import Calibration
from rewardanything_core.backends.base import Backend
from rewardanything_core.backends.budget import Budget, spending
from rewardanything_core.backends.endpoint import batch_session
from rewardanything_core.backends.metered import MeteredBackend
from rewardanything_core.backends.registry import backend_from_spec
from rewardanything_core.cases import Case
from rewardanything_core.concurrency import background_loop
from rewardanything_core.concurrency.single_flight import SingleFlight
from rewardanything_core.errors import BatchPendingError, BudgetExceededError, ConfigError, RewardAnythingError
from rewardanything_core.fields import construct
from rewardanything_core.judging.base import BaseJudge
from rewardanything_core.judging.case_runner import CaseRunner
from rewardanything_core.judging.failures import failed_by, log_unexpected, pending_in_batch
from rewardanything_core.judging.keys import VerdictKeys, to_json
from rewardanything_core.judging.observers import as_observer
from rewardanything_core.judging.resolution import (
    check_prices,
    resolve_criteria,
    resolve_explainer,
    resolve_readout,
    resolve_sampling,
    resolve_screening,
)
from rewardanything_core.judging.rubrics import combine_criteria
from rewardanything_core.judging.verdict_cache import VerdictCache
from rewardanything_core.judging.verdicts import verdict_from_result
from rewardanything_core.options import LIST_READOUTS, JudgeOptions, Readout
from rewardanything_core.principles import Rubric
from rewardanything_core.prompting.appeals import MEASURED_MODELS
from rewardanything_core.prompting.material import turns_hash
from rewardanything_core.prompting.templates import Template
from rewardanything_core.readouts.pointwise.questions import question_set
from rewardanything_core.store.principle_cache import PrincipleCache
from rewardanything_core.store.records import StoredVerdict
from rewardanything_core.store.verdict_store import VerdictStore
from rewardanything_core.types import Usage, Verdict

if TYPE_CHECKING:
    from rewardanything_core.judging.cost_estimates import CostEstimate

RESAMPLING_TEMPERATURE = 0.7
"""Minimum temperature of `Judge.resampled`, at which models usually vary their wording. It is not tuned."""


class Judge(BaseJudge):
    """Judges responses under a principle. Thread-safe; usable from scripts, threads and any event loop.

    Args:
        backend: The model.
        options: See `JudgeOptions`. None: the defaults.
        **changes: Fields of `JudgeOptions`, in place of those of ``options``.

    Raises:
        ConfigError: an option is unknown, out of its range, or contradicts another or the backend.
        StoreError: the verdict store cannot be used.
    """

    def __init__(self, backend: Backend, options: JudgeOptions | None = None, **changes: Any) -> None:
        options = options.replace(**changes) if options else construct(JudgeOptions, changes, owner="Judge")
        self.backend = backend
        self._requested = options
        self.readout: Readout = resolve_readout(options, backend)
        """``generate``, ``logits``, ``head`` or ``decisions``."""
        self.template = (
            options.template
            if isinstance(options.template, Template)
            else Template.for_model(backend.model, style="think" if backend.supports_grammar else "json")
        )
        self.sampling = resolve_sampling(options.sampling, backend, self.template)
        self.calibration = None if options.calibration is None else Calibration.of(options.calibration)
        self.options = options.replace(
            readout=self.readout,
            screen="on" if resolve_screening(options, backend, self.readout) else "off",
            criteria=resolve_criteria(options, backend, self.readout, self.template),
            sampling=self.sampling,
            template=self.template if self.readout == "generate" else None,
            calibration=self.calibration,
        )
        """The options in force, with nothing left to defaults."""
        self.observers = tuple(map(as_observer, options.on_verdict))
        self._cached = VerdictCache(options.store, options.cache, backend.model)
        self._usage = Usage()
        self._flights: SingleFlight[StoredVerdict] = SingleFlight()
        self._explainer = resolve_explainer(options, backend, self.readout)
        self._unexplained = self._without_reasons()
        check_prices(backend, options.budget)
        backend_fingerprint = backend.fingerprint()
        judges_lists = self.readout in LIST_READOUTS
        cache = None if judges_lists else self._principle_cache(backend_fingerprint)
        self.metered_backend = (
            backend if options.budget is None or backend.reserves_requests else MeteredBackend(backend)
        )
        """The backend, whose requests are paid from the budget in force."""
        self._runner = CaseRunner(self.metered_backend, self.options, self.template, cache)
        self.template_hash = self._runner.template_hash
        """Hash of the wording that the model is prompted with, under one principle."""
        self._settings = self._key_settings(backend_fingerprint)
        self._keys = VerdictKeys(
            self._settings,
            under_rubrics={"criteria": self.options.criteria, "template": self._runner.rubric_template_hash},
            with_turns={"turns": turns_hash(), "shorten": self.options.shorten},
            max_list=options.max_list if judges_lists else None,
        )
        if options.cache != "off":
            _ = self.store  # an unusable store is an error now, not after the first judgement

    # --- properties and copies

    @property
    def passes(self) -> int:
        """See `JudgeOptions.passes`."""
        return self.options.passes

    @property
    def seed(self) -> int:
        """See `JudgeOptions.seed`."""
        return self.options.seed

    @property
    def cache(self) -> str:
        """See `JudgeOptions.cache`."""
        return self.options.cache

    @property
    def budget(self) -> Budget | None:
        """What this judge may still spend, shared by all copies of it. None: there is no limit."""
        return self.options.budget

    @property
    def single_judges(self) -> tuple[Judge, ...]:
        """This judge."""
        return (self,)

    @property
    def model(self) -> str:
        """The judge model's name."""
        return self.backend.model

    @property
    def store(self) -> VerdictStore:
        """The verdict store, opened on first use."""
        return self._cached.store

    @property
    def screens(self) -> bool:
        """Whether appeals are removed from responses before they are judged; see `JudgeOptions.screen`."""
        return self.options.screen == "on"

    @property
    def recognises_appeals(self) -> bool:
        """Whether `find_appeals` works, and either is known to work well with this model or ``screen`` is ``on``."""
        return self.screens or (self.backend.supports_option_scores and self.model in MEASURED_MODELS)

    @property
    def usage(self) -> Usage:
        """Usage of all model calls of this judge so far, failures included; cached verdicts cost nothing."""
        return self._usage if self._unexplained is None else self._usage + self._unexplained.usage

    def estimate(self, cases: Iterable[Case | Mapping[str, Any]]) -> CostEstimate:
        """See `BaseJudge.estimate`."""
        from rewardanything_core.judging.cost_estimates import estimate

        return estimate(self, [Case.of(case) for case in cases])

    def fingerprint(self) -> dict[str, Any]:
        """Everything except the case that affects a verdict, as plain JSON. Equal fingerprints judge alike."""
        options = {name: getattr(self.options, name) for name in ("max_list", "criteria", "shorten")}
        settings = {**self._settings, **options}
        return settings if self.calibration is None else settings | {"calibration": self.calibration.to_dict()}

    def with_options(self, **options: Any) -> Judge:
        """A judge over the same backend with some `JudgeOptions` changed; the model is not loaded again."""
        # From the options as requested, so that "auto" and defaults are resolved again with the changes.
        current = self._requested.replace(store=self._cached.source, calibration=self.calibration)
        return Judge(self.backend, current.replace(**options))

    def with_balanced_passes(self, number: int) -> Judge:
        """The judge with ``passes`` raised to a multiple of ``number``."""
        return self.with_options(passes=-(-self.passes // number) * number)

    def resampled(self) -> Judge:
        """The judge with another seed and sampled replies; greedy decoding would repeat itself on two orders."""
        if self.readout != "generate":
            return self.with_options(seed=self.seed + 1)
        temperature = max(self.sampling.temperature, RESAMPLING_TEMPERATURE)
        return self.with_options(
            seed=self.seed + 1, sampling=dataclasses.replace(self.sampling, temperature=temperature)
        )

    def spec(self) -> dict[str, Any]:
        """This judge as plain JSON, for `from_spec` or ``load_judge(spec)`` in another process. Never holds a key."""
        return {
            "backend": self.backend.spec(),
            "options": dataclasses.replace(self.options, store=self._cached.source).to_json(),
        }

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any], *, backends: dict[str, Backend] | None = None) -> Self:
        """The judge that `spec` describes.

        Args:
            spec: What `spec` returned.
            backends: Backends made so far, by the JSON of their specs; those of this judge are looked up here first and
                added, so that two judges with the same model share it. None: no sharing.

        Raises:
            ConfigError: it is not the spec of a judge.
        """
        backends = {} if backends is None else backends
        try:
            key, options = to_json(dict(spec["backend"])), dict(spec["options"])
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"This is not the spec of a judge: {error!r}.") from error
        try:
            judge_options = JudgeOptions.from_json(options)
        except TypeError as error:
            raise ConfigError(f"This is not the spec of a judge: {error!r}.") from error
        if key not in backends:
            backends[key] = backend_from_spec(spec["backend"])
        return cls(backends[key], judge_options)

    def close(self) -> None:
        """Release the backend's threads, connections and memory."""
        self.backend.close()
        self._cached.close()

    def __repr__(self) -> str:
        return f"Judge({self.model!r}, passes={self.passes}, template={self.template.name!r}, cache={self.cache!r})"

    # --- making a verdict

    def cached_verdicts(self, cases: Sequence[Case]) -> list[Verdict | None]:
        """The verdicts that are in the store, in the order of the cases."""
        if self.cache == "off":
            return [None] * len(cases)
        keys = [self._keys.key(case) for case in cases]
        found = self._cached.lookup(keys)
        return [
            self._finalize(found[key], case, cached=True) if key in found else None
            for key, case in zip(keys, cases, strict=True)
        ]

    async def _judge_case(self, case: Case) -> Verdict:
        """The verdict from the store, from the same judgement in flight, or from the model."""
        key = self._keys.key(case)
        stored = await self._cached.look_again(key)
        cached = stored is not None
        stored = stored or await self._flights.join(key, lambda: self._judge_and_store(case, key))
        return self._finalize(stored, case, cached=cached)

    def _finalize(self, stored: StoredVerdict, case: Case, *, cached: bool) -> Verdict:
        verdict = stored.relabel(case, cached=cached)
        # Applied after the store, so that stored verdicts are the model's and serve under any calibration and weights.
        if isinstance(case.principle, Rubric):
            return combine_criteria(verdict, case.principle, self.calibration)
        return verdict if self.calibration is None else self.calibration.calibrate(verdict)

    def _without_reasons(self) -> Judge | None:
        """The same judge without an explainer, whose verdicts are stored under keys of their own."""
        if self._explainer is None:
            return None
        return self.with_options(explain=False, explainer=None, calibration=None, on_verdict=())

    async def _explain_and_store(self, case: Case, key: str) -> StoredVerdict:
        """The verdict as it is without reasons, and then its reasons."""
        assert self._explainer is not None and self._unexplained is not None
        given = await self._unexplained._judge_case(case)
        with spending(self.budget):
            verdict, has_reasons = await self._explainer.explained(given, case)
        self._usage += verdict.usage - given.usage
        verdict = dataclasses.replace(verdict, cached=False)
        if has_reasons:
            verdict = await self._store(verdict, case, key)
        return StoredVerdict(verdict=verdict, labels=case.canonical_labels)

    async def _judge_and_store(self, case: Case, key: str) -> StoredVerdict:
        if self._explainer is not None:
            return await self._explain_and_store(case, key)
        spent: list[Usage] = []

        def on_usage(usage: Usage) -> None:
            spent.append(usage)
            self._usage += usage

        try:
            with spending(self.budget), batch_session.tracking() as missing:
                result = await self._runner.judge(case, on_usage)
            if missing:
                self._usage -= sum(spent, Usage())  # it is counted when the case is judged with all replies
                raise pending_in_batch(case, self.model, len(missing))
        except Exception as raised:
            error = raised
            if not isinstance(raised, RewardAnythingError):
                log_unexpected(raised, self.model, case)
                error = failed_by(raised, case, self.model)
            assert isinstance(error, RewardAnythingError)
            if error.failure is None:  # not specific to this case
                raise
            error.failure = dataclasses.replace(error.failure, usage=sum(spent, Usage()), model=self.model)
            if not isinstance(error, BatchPendingError | BudgetExceededError):  # otherwise the case has not failed
                error.failure = await self._cached.add_failure(error.failure, case, self._keys.settings(case))
            raise error from error.__cause__ if error is raised else raised
        self._cached.model_was_called()
        verdict = verdict_from_result(
            case,
            result,
            model=self.model,
            seed=self.seed,
            template_hash=self._keys.settings(case)["template"],
            criterion_template_hash=self.template_hash,
            usage=sum(spent, Usage()),
        )
        verdict = await self._store(verdict, case, key)
        return StoredVerdict(verdict=verdict, labels=case.canonical_labels)

    async def _store(self, verdict: Verdict, case: Case, key: str) -> Verdict:
        """The verdict with the id of its record, if it could be stored."""
        settings = self._keys.settings(case)
        return await self._cached.add(verdict, case, key, settings, more_coming=len(self._flights) > 1)

    # --- appeals

    def find_appeals(self, texts: Sequence[str]) -> list[list[str]]:
        """The appeals in each text: sentences that speak to an evaluator, or vouch for the text, instead of answering.

        Args:
            texts: Responses.

        Raises:
            ConfigError: the model does not provide probabilities of answers.
            BackendError: the model failed.
        """
        return background_loop.wait(background_loop.submit(self._appeals_in(texts)))

    async def afind_appeals(self, texts: Sequence[str]) -> list[list[str]]:
        """`find_appeals`, awaited."""
        return await asyncio.wrap_future(background_loop.submit(self._appeals_in(texts)))

    async def _appeals_in(self, texts: Sequence[str]) -> list[list[str]]:
        if not self.backend.supports_option_scores:
            raise ConfigError(f"find_appeals needs the probabilities of answers, which {self.model} does not provide.")

        def on_usage(usage: Usage) -> None:
            self._usage += usage

        with spending(self.budget):
            return await self._runner.detector.find(texts, on_usage=on_usage)

    # --- the store's key

    def _principle_cache(self, backend_fingerprint: Mapping[str, Any]) -> PrincipleCache | None:
        """Where the model's answers about principles are stored, if verdicts are."""
        return self._cached.of_principles(to_json({"backend": backend_fingerprint, "template": question_set().hash}))

    def _key_settings(self, backend_fingerprint: dict[str, Any]) -> dict[str, Any]:
        """Everything except the case that affects a verdict on a list that is not long."""
        settings = {"backend": backend_fingerprint, "template": self.template_hash, "passes": self.passes}
        if self._explainer is not None:
            settings["explainer"] = self._explainer.fingerprint()
        if self.screens:
            settings["screen"] = self._runner.detector.questions.hash
        if self.readout != "generate":
            seed = {"seed": self.seed} if self.readout in LIST_READOUTS else {}
            return settings | {"readout": self.readout} | seed
        readout = "expected" if self.options.expected_scores else "generate"
        return settings | {"sampling": dataclasses.asdict(self.sampling), "seed": self.seed, "readout": readout}
