"""The judge: a backend, a template and options. How it is asked is in `BaseJudge`."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, Unpack

from rewardanything_core.agreement.calibration import Calibration
from rewardanything_core.backends.base import Backend
from rewardanything_core.cases import Case
from rewardanything_core.concurrency.single_flight import SingleFlight
from rewardanything_core.errors import ConfigError, RewardAnythingError, StoreError
from rewardanything_core.judging.base import BaseJudge
from rewardanything_core.options import CacheMode, JudgeOptions, Readout
from rewardanything_core.prompting.templates import Template, is_rewardanything
from rewardanything_core.readouts.generate import GenerateReadout
from rewardanything_core.readouts.logits.questions import question_set
from rewardanything_core.readouts.logits.readout import LogitsReadout
from rewardanything_core.readouts.long_lists import poll
from rewardanything_core.readouts.results import CaseResult
from rewardanything_core.sampling import SamplingParams
from rewardanything_core.store.records import Entry, StoredVerdict
from rewardanything_core.store.verdict_store import PrincipleCache, VerdictStore
from rewardanything_core.types import Usage, Verdict

_log = logging.getLogger("rewardanything_core")


FRESH_TEMPERATURE = 0.7
"""The least temperature of a judge that is asked `Judge.resampled`."""


class Judge(BaseJudge):
    """Judges responses under a principle. Thread-safe; usable from scripts, threads and any event loop.

    Args:
        backend: The model.
        passes, readout, seed, sampling, expected_scores, retries, max_list, template, store, cache, calibration: see
            `JudgeOptions`.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        passes: int = 1,
        readout: Readout = "auto",
        seed: int = 0,
        sampling: SamplingParams | None = None,
        expected_scores: bool = False,
        retries: int = 2,
        max_list: int = 16,
        template: Template | None = None,
        store: VerdictStore | str | Path | None = None,
        cache: CacheMode = "on",
        calibration: Calibration | Mapping[str, Any] | str | Path | None = None,
    ) -> None:
        if passes < 1 or retries < 0:
            raise ConfigError(f"passes must be 1 or more and retries 0 or more, not {passes!r} and {retries!r}.")
        if max_list < 2:
            raise ConfigError(f"max_list must be 2 or more, not {max_list!r}.")
        if cache not in ("off", "read", "on"):
            raise ConfigError(f"cache must be 'off', 'read' or 'on', not {cache!r}.")
        self.backend = backend
        self.readout = _readout(readout, backend, written=bool(sampling or template or expected_scores))
        """``generate`` or ``logits``."""
        self._chose_readout = readout != "auto"
        if self.readout == "logits" and expected_scores:
            raise ConfigError(
                "expected_scores=True needs a verdict that is written, and readout='logits' writes none; leave one of "
                "the two out."
            )
        if self.readout == "logits" and template is not None:
            raise ConfigError(
                f"The template {template.name!r} says how a verdict is written, and readout='logits' writes none; "
                "leave one of the two out."
            )
        self.template = template or Template.for_model(
            backend.model, style="think" if backend.supports_grammar else "json"
        )
        sampling = sampling or SamplingParams()
        if sampling.thinking_budget is None:
            budget = backend.default_thinking_budget(trained=self.template.name == "trained")
            sampling = dataclasses.replace(sampling, thinking_budget=budget)
        self.sampling = sampling
        self.passes, self.seed, self.retries = passes, seed, retries
        self.expected_scores, self.max_list = expected_scores, max_list
        self.cache = cache
        self.calibration = None if calibration is None else Calibration.of(calibration)
        self._store = store
        self._options = JudgeOptions(
            passes=passes,
            readout=self.readout,
            seed=seed,
            sampling=sampling,
            expected_scores=expected_scores,
            retries=retries,
            max_list=max_list,
            template=None if self.readout == "logits" else self.template,
            store=store,
            cache=cache,
            calibration=self.calibration,
        )
        self._usage = Usage()
        self._flights: SingleFlight[StoredVerdict] = SingleFlight()
        fingerprint = backend.fingerprint()
        self._reader = LogitsReadout(backend, shelf=self._shelf(fingerprint)) if self.readout == "logits" else None
        self.template_hash = self.template.hash if self._reader is None else self._reader.wording.hash
        """Hash of the wording that the model is asked with."""
        self._settings = {"backend": fingerprint, "template": self.template_hash, "passes": passes}
        if self._reader is None:
            how = "expected" if expected_scores else "generate"
            self._settings |= {"sampling": dataclasses.asdict(sampling), "seed": seed, "readout": how}
        else:
            self._settings["readout"] = "logits"
        self._long_settings = {**self._settings, "max_list": max_list}
        self._settings_json = tuple(map(_json, (self._settings, self._long_settings)))
        self._procedure = GenerateReadout(
            backend=backend,
            template=self.template,
            sampling=sampling,
            seed=seed,
            retries=retries,
            expected=expected_scores,
        )
        if cache != "off":
            _ = self.store  # a store that cannot be used is an error now, not after the first judgement

    # --- about itself

    @property
    def model(self) -> str:
        """The judge model's name."""
        return self.backend.model

    @property
    def store(self) -> VerdictStore:
        """The verdict store, opened on first use."""
        if not isinstance(self._store, VerdictStore):
            self._store = VerdictStore(self._store)
        return self._store

    @property
    def usage(self) -> Usage:
        """All that this judge has asked of its model so far, failures included; stored verdicts cost nothing."""
        return self._usage

    def fingerprint(self) -> dict[str, Any]:
        """All beside the case that can change a verdict, as plain JSON; two with the same one judge alike."""
        settings = {**self._settings, "max_list": self.max_list}
        return settings if self.calibration is None else settings | {"calibration": self.calibration.to_dict()}

    def with_options(self, **options: Unpack[JudgeOptions]) -> Judge:
        """A judge over the same backend with some options changed; the model is not loaded again."""
        changed = self._options.copy()
        changed["store"] = self._store  # the open one, if it is open
        if not self._chose_readout and any(options.get(name) for name in ("sampling", "template", "expected_scores")):
            changed["readout"] = "generate"
        changed.update(options)
        return Judge(self.backend, **changed)

    def with_balanced_passes(self, number: int) -> Judge:
        """The judge with ``passes`` raised to a multiple of ``number``."""
        return self.with_options(passes=-(-self.passes // number) * number)

    def resampled(self) -> Judge:
        """The judge with another seed and sampled replies: a greedy judge would only say the same about two orders."""
        if self._reader is not None:
            return self.with_options(seed=self.seed + 1)
        warmer = dataclasses.replace(self.sampling, temperature=max(self.sampling.temperature, FRESH_TEMPERATURE))
        return self.with_options(seed=self.seed + 1, sampling=warmer)

    def spec(self) -> dict[str, Any]:
        """This judge as plain JSON, to be made again by ``load_judge(spec)`` in another process; it holds no key."""
        return {
            "backend": self.backend.spec(),
            "options": {
                "passes": self.passes,
                "readout": self.readout,
                "seed": self.seed,
                "sampling": dataclasses.asdict(self.sampling),
                "expected_scores": self.expected_scores,
                "retries": self.retries,
                "max_list": self.max_list,
                "template": None if self.readout == "logits" else dataclasses.asdict(self.template),
                "store": str(self._store.path)
                if isinstance(self._store, VerdictStore)
                else self._store and str(self._store),
                "cache": self.cache,
                "calibration": self.calibration and self.calibration.to_dict(),
            },
        }

    def close(self) -> None:
        """Let go of the backend's threads, connections and memory."""
        self.backend.close()

    def __repr__(self) -> str:
        return f"Judge({self.model!r}, passes={self.passes}, template={self.template.name!r}, cache={self.cache!r})"

    # --- making a verdict

    def cached_verdict(self, case: Case) -> Verdict | None:
        """The verdict in the store."""
        stored = self.store.get(self._key(case)) if self.cache != "off" else None
        return None if stored is None else self._finalize(stored, case, cached=True)

    async def _judge_case(self, case: Case) -> Verdict:
        """From the store; else from the same judgement already under way; else by judging."""
        key = self._key(case)
        stored = self.store.get(key) if self.cache != "off" else None
        cached = stored is not None
        stored = stored or await self._flights.join(key, lambda: self._judged(case, key))
        return self._finalize(stored, case, cached=cached)

    def _finalize(self, stored: StoredVerdict, case: Case, *, cached: bool) -> Verdict:
        verdict = stored.relabel(case, cached=cached)
        # After the store, so that what is stored is what the model said, and serves under any calibration.
        return verdict if self.calibration is None else self.calibration.applied(verdict)

    async def _judged(self, case: Case, key: str) -> StoredVerdict:
        """Judge a case for real and store what came of it."""
        spent: list[Usage] = []

        def on_usage(usage: Usage) -> None:
            spent.append(usage)
            self._usage += usage

        try:
            polled = await self._polled(case, on_usage)
        except RewardAnythingError as error:
            assert error.failure is not None
            failure = dataclasses.replace(error.failure, usage=sum(spent, Usage()))
            if self.cache == "on":
                log = partial(self.store.put_failure, case, failure, **self._provenance(case))
                failure = dataclasses.replace(failure, record_id=await _kept(asyncio.to_thread(log)))
            error.failure = failure
            raise
        verdict = self._combined(case, polled, sum(spent, Usage()))
        if self.cache == "on":
            entry = Entry(key=key, case=case, verdict=verdict, **self._provenance(case))
            verdict = dataclasses.replace(verdict, record_id=await _kept(self._put(entry)))
        return StoredVerdict(verdict=verdict, labels=case.canonical_labels)

    def _shelf(self, fingerprint: Mapping[str, Any]) -> PrincipleCache | None:
        """Where what a model says of principles is kept: beside the verdicts, if these are kept."""
        if self.cache == "off":
            return None
        about = _json({"backend": fingerprint, "template": question_set().hash})
        return self.store.readings(about, write=self.cache == "on")

    async def _polled(self, case: Case, on_usage: Callable[[Usage], None]) -> CaseResult:
        if self._reader is not None:
            return await self._reader.poll(case, passes=self.passes, on_usage=on_usage)
        run = partial(self._procedure.run, on_usage=on_usage)
        return await poll(case, run, passes=self.passes, max_list=self.max_list, seed=self.seed)

    async def _put(self, entry: Entry) -> str:
        await self.store.aput(entry, more_coming=len(self._flights) > 1)
        return entry.record_id

    def _combined(self, case: Case, polled: CaseResult, usage: Usage) -> Verdict:
        ballots, consensus = polled.ballots, polled.consensus
        return Verdict(
            scores={label: consensus.scores[label] for label in case.labels},
            ranking=consensus.ranking,
            reasoning=_by_pass([ballot.reasoning for ballot in ballots]),
            raw_output=_by_pass([ballot.raw for ballot in ballots]),
            spread={label: consensus.spread[label] for label in case.labels},
            agreement=consensus.agreement,
            usage=usage,
            case_id=case.id,
            model=self.model,
            template_hash=self.template_hash,
            seed=self.seed,
            orders=[ballot.order for ballot in ballots],
            pass_scores=[ballot.scores for ballot in ballots],
            sublists=polled.sublists,
        )

    def _settings_for(self, case: Case) -> dict[str, Any]:
        """What can change this case's verdict: how sub-lists are made matters only to long lists."""
        long = len(case.responses) > self.max_list and self._reader is None
        return self._long_settings if long else self._settings

    def _provenance(self, case: Case) -> _Provenance:
        return {"model": self.model, "template_hash": self.template_hash, "settings": self._settings_for(case)}

    def _key(self, case: Case) -> str:
        """SHA-256 of everything that can change the verdict, and of nothing else."""
        long = self._settings_for(case) is not self._settings
        content = f'["{case.digest}", {self._settings_json[long]}]'
        return hashlib.sha256(content.encode()).hexdigest()


def _readout(asked: Readout, backend: Backend, *, written: bool) -> Readout:
    """What ``auto`` means here, or what was asked for if it can be had.

    Args:
        asked: The option as given.
        backend: The model.
        written: Whether something was said of how it should write.
    """
    if asked not in ("auto", "generate", "logits"):
        raise ConfigError(f"readout must be 'auto', 'generate' or 'logits', not {asked!r}.")
    if asked == "logits" and not backend.supports_option_scores:
        raise ConfigError(
            f"readout='logits' reads the probabilities of answers, and {backend.model} gives none; use "
            "readout='generate', or a model on this machine or behind a server that gives log-probabilities."
        )
    if asked != "auto":
        return asked
    plain = backend.supports_option_scores and backend.prefers_option_scores() and not is_rewardanything(backend.model)
    return "logits" if plain and not written else "generate"


class _Provenance(TypedDict):
    model: str
    template_hash: str
    settings: dict[str, Any]


def _by_pass(texts: Sequence[str]) -> str:
    """One text as it is; several under headings that say which pass they are from."""
    if len(texts) == 1:
        return texts[0]
    return "\n\n".join(f"[pass {i} of {len(texts)}]\n{text}" for i, text in enumerate(texts, start=1) if text)


def _json(settings: dict[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True, ensure_ascii=False)


async def _kept(written: Awaitable[str]) -> str | None:
    """The id of the record written; None if it could not be: what was paid for is not lost to a full disk."""
    try:
        return await written
    except StoreError as error:
        _log.warning("A judgement could not be stored: %s", error)
        return None
