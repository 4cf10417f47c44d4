"""A Hugging Face model on this machine, on a GPU or the CPU."""

from __future__ import annotations

import asyncio
import atexit
import logging
import queue
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from rewardanything_core.backends.base import Backend, ChoiceRequest, ChoiceResult, Completion, Request
from rewardanything_core.backends.grammar import Choice, Grammar, GrammarFactory, Text
from rewardanything_core.backends.local.chat_tokenizer import ChatTokenizer
from rewardanything_core.backends.local.compatibility import side_by_side
from rewardanything_core.backends.local.engine.constrained_decoder import ConstrainedDecoder
from rewardanything_core.backends.local.engine.engine import Resident
from rewardanything_core.backends.local.engine.option_scorer import Asked, OptionScorer, distinct_tokens, first_tokens
from rewardanything_core.backends.local.engine.sequence import Row
from rewardanything_core.backends.local.model_loading import identity_of, load, pick_device, quantized, window_of
from rewardanything_core.backends.local.pending import Inquiry, Job
from rewardanything_core.errors import BackendError, ConfigError, ContextLengthError
from rewardanything_core.types import Usage

_log = logging.getLogger("rewardanything_core")

_SLICE, _SLICE_CPU = 4096, 512
"""Tokens that go through the model in one step: more use a GPU better, and make those who write wait longer."""

_READ = 8192  # tokens of questions to read off before those that have come meanwhile get their turn
_REST = 2.0
"""Seconds without anything to do after which memory is given back."""


class LocalBackend(Backend):
    """A chat model run through transformers, in one resident batch, its replies held to their form while decoding.

    Requests from anywhere join a line; a thread of the backend's own writes their replies side by side, and each comes
    in and leaves between two steps of the others. The model is loaded at construction.

    In float32 the same seed gives the same reply whatever is written beside it. In bfloat16 a reply can part from the
    one written alone where the two likeliest tokens are within the rounding of each other.

    Args:
        model: Hugging Face hub id, or a folder.
        device: ``auto`` (CUDA, then Apple's MPS, then the CPU), ``cuda``, ``cuda:1``, ``mps`` or ``cpu``.
        dtype: ``auto`` or the name of a torch dtype. Auto is bfloat16 on GPUs and on CPUs that are fast at it, but
            float32 for models under a billion parameters and on all other CPUs.
        device_map: Passed to transformers, to spread a model over devices; then ``device`` is not used.
        quantization: ``8bit`` or ``4bit``: weights take a half or about a third of the memory of bfloat16, through
            bitsandbytes (extra ``quantized``). None: as they are.
        quantization_config: Passed to transformers, in place of ``quantization``.
        trust_remote_code: Run Python code that comes with the model. Off unless asked for.
        revision: Branch, tag or commit on the hub.
        gguf_file: Name of a GGUF file in the folder or repository; it is dequantised while loading.
        max_batch_size: Most replies written at once.
        max_batch_tokens: Most tokens of the prompts and replies that are written at once, each reply counted at the
            longest it may become. A single longer one is written by itself.
        name: The model's name in verdicts. None: ``model``.

    Raises:
        MissingExtraError: torch or transformers is not installed.
        ConfigError: there is no such model or device, it is no chat model, or its replies cannot be written side by
            side: it keeps a state of another kind than keys and values, or has an attention of its own making.
    """

    supports_grammar: ClassVar[bool] = True
    escapes_special_tokens: ClassVar[bool] = True

    def __init__(
        self,
        model: str | Path,
        *,
        device: str = "auto",
        dtype: str = "auto",
        device_map: str | Mapping[str, Any] | None = None,
        quantization: Literal["8bit", "4bit"] | None = None,
        quantization_config: Any = None,
        trust_remote_code: bool = False,
        revision: str | None = None,
        gguf_file: str | None = None,
        max_batch_size: int = 16,
        max_batch_tokens: int = 32_768,
        name: str | None = None,
    ) -> None:
        if max_batch_size < 1 or max_batch_tokens < 1:
            raise ConfigError("max_batch_size and max_batch_tokens must be 1 or more.")
        self._arguments = {
            "model": str(model),
            "device": device,
            "dtype": dtype,
            "device_map": device_map,
            "quantization": quantization,
            "trust_remote_code": trust_remote_code,
            "revision": revision,
            "gguf_file": gguf_file,
            "max_batch_size": max_batch_size,
            "max_batch_tokens": max_batch_tokens,
            "name": name,
        }
        if quantization is not None and (quantization_config is not None or gguf_file):
            other = "gguf_file" if gguf_file else "quantization_config"
            raise ConfigError(f"quantization and {other} both say how the weights are quantised; give one of them.")
        self._quantization_config = quantization_config
        self._name = name or str(model)
        self._max_batch_size, self._max_batch_tokens = max_batch_size, max_batch_tokens
        where = None if device_map is not None else pick_device(device)
        common = {"trust_remote_code": trust_remote_code, "revision": revision}
        if gguf_file:
            common["gguf_file"] = gguf_file
        if quantization is not None:
            dtype = "bfloat16" if dtype == "auto" else dtype
            quantization_config = quantized(quantization, dtype)
        self._model, tokenizer = load(str(model), where, dtype, device_map, quantization_config, common)
        self._chat = ChatTokenizer(tokenizer, name=self._name)
        self._decoder = ConstrainedDecoder(self._model, tokenizer, self._chat)
        self._reaches = side_by_side(self._model, self._name)
        self._odds = OptionScorer(self._model, self._reaches)
        self._reasons = "<think>" in str(tokenizer.chat_template)
        self._window = window_of(self._model.config)
        self._queue: queue.Queue[Job | Inquiry | None] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closed = False
        # A thread inside torch must not be there any more when the interpreter is taken down.
        atexit.register(_close, weakref.ref(self))

    @property
    def model(self) -> str:
        """The model's name."""
        return self._name

    def default_thinking_budget(self, *, trained: bool) -> int:
        """As for any backend if the model was trained to reason; a plain model gets room for a few sentences."""
        return super().default_thinking_budget(trained=trained) if trained else 160

    @property
    def supports_option_scores(self) -> bool:
        """True."""
        return True

    def prefers_option_scores(self) -> bool:
        """True unless its chat template knows of think tags: a model that was trained to reason should do so."""
        return not self._reasons

    async def complete(self, request: Request) -> Completion:
        """Queue the request and wait for its reply."""
        job = Job(asyncio.get_running_loop(), asyncio.get_running_loop().create_future(), request)
        self._enqueue(job)
        return await job.future

    async def score_options(self, questions: Sequence[ChoiceRequest]) -> ChoiceResult:
        """Queue the questions and wait until they are read off, in one go with those of others."""
        inquiry = Inquiry(asyncio.get_running_loop(), asyncio.get_running_loop().create_future(), tuple(questions))
        self._enqueue(inquiry)
        return await inquiry.future

    def _enqueue(self, errand: Job | Inquiry) -> None:
        with self._lock:
            if self._closed:
                raise BackendError(f"{self._name} was closed.")
            if self._thread is None or not self._thread.is_alive():  # a fork leaves its threads behind
                self._thread = threading.Thread(target=self._work, name=f"judge {self._name}", daemon=True)
                self._thread.start()
        self._queue.put(errand)

    def fingerprint(self) -> dict[str, Any]:
        """The model, what its weights are, and the arithmetic it runs in."""
        return {
            "kind": "local",
            "model": self._name,
            "weights": identity_of(Path(str(self._arguments["model"])), self._model.config),
            "gguf_file": self._arguments["gguf_file"],
            "dtype": str(self._model.dtype),
            "quantization": self._arguments["quantization"]
            or (repr(self._quantization_config) if self._quantization_config is not None else None),
        }

    def spec(self) -> dict[str, Any]:
        """The arguments it was made with.

        Raises:
            ConfigError: it was given a quantisation config, which does not travel.
        """
        if self._quantization_config is not None:
            raise ConfigError("A judge with a quantization_config object cannot be sent to another process.")
        return {"kind": "local", **self._arguments}

    def close(self) -> None:
        """Stop the thread and let go of the model."""
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            if thread is not threading.current_thread():
                thread.join(timeout=60)

    # --- the backend's thread

    def _work(self) -> None:
        resident = self._resident()
        jobs: dict[Row, Job] = {}
        inquiries: list[Inquiry] = []
        while not self._closed:
            if resident.idle and not inquiries:
                try:
                    errand = self._queue.get(timeout=_REST)
                except queue.Empty:
                    resident.rest()
                    errand = self._queue.get()
                time.sleep(0.005)  # callers come in bursts; a moment's wait lets them begin together
                self._sort_in(errand, resident, jobs, inquiries)
            while not self._queue.empty():
                self._sort_in(self._queue.get(), resident, jobs, inquiries)
            if inquiries:  # short, and whoever writes can wait for them
                inquiries = self._read(inquiries)
            try:
                left = resident.step()
            except Exception as error:  # noqa: BLE001  # reported to those who wait
                _log.exception("The local model's batch broke down.")
                left = resident.clear()
                for row in left:
                    row.error = BackendError(f"{self._name} failed while writing: {type(error).__name__}: {error}")
            for row in left:
                self._hand_over(jobs.pop(row), row)
        waiting: list[Job | Inquiry | None] = [*jobs.values(), *inquiries]
        while not self._queue.empty():
            waiting.append(self._queue.get())
        for errand in waiting:
            if errand is not None:
                errand.fail(BackendError(f"{self._name} was closed before it replied."))

    def _resident(self) -> Resident:
        return Resident(
            self._model,
            self._decoder,
            self._reaches,
            most=self._max_batch_size,
            tokens=self._max_batch_tokens,
            slice_=_SLICE_CPU if self._model.device.type == "cpu" else _SLICE,
        )

    def _sort_in(
        self, errand: Job | Inquiry | None, resident: Resident, jobs: dict[Row, Job], inquiries: list[Inquiry]
    ) -> None:
        if isinstance(errand, Inquiry):
            inquiries.append(errand)
        elif errand is not None and not errand.cancelled:
            try:
                row = self._row(errand)
            except Exception as error:  # noqa: BLE001  # whatever it is belongs to this job alone
                errand.fail(error)
            else:
                jobs[row] = errand
                resident.join(row)

    def _hand_over(self, job: Job, row: Row) -> None:
        if row.error is not None:
            job.fail(row.error)
        elif row.place is not None:  # cancelled, or cut short by close()
            job.fail(BackendError(f"{self._name} was closed before it replied."))
        else:
            usage = Usage(calls=1, prompt_tokens=len(row.prompt), completion_tokens=row.written, seconds=row.seconds)
            tokens = tuple(row.pieces) if job.request.token_probabilities else ()
            job.succeed(Completion(answer=row.reply, usage=usage, tokens=tokens))

    def _read(self, inquiries: Sequence[Inquiry]) -> list[Inquiry]:
        """Read off the small inquiries and the oldest one, side by side, and say which are left.

        What is asked about a principle is small, and what many cases wait for.
        """
        ready: list[tuple[Inquiry, list[Asked]]] = []
        left, tokens = list(inquiries), 0
        for inquiry in sorted(inquiries, key=lambda inquiry: inquiry.size):
            if tokens >= _READ and inquiry is not inquiries[0]:
                continue
            left.remove(inquiry)
            if inquiry.cancelled:
                continue
            try:
                questions = [self._asked(question) for question in inquiry.questions]
            except Exception as error:  # noqa: BLE001  # whatever it is belongs to this inquiry alone
                inquiry.fail(error)
                continue
            ready.append((inquiry, questions))
            tokens += distinct_tokens([asked.ids for asked in questions])
        waiting = dict(enumerate(ready))
        try:
            for at, odds, seconds in self._odds.read(
                [questions for _, questions in ready],
                cancelled=lambda: self._closed or all(inquiry.cancelled for inquiry, _ in waiting.values()),
            ):
                inquiry, questions = waiting.pop(at)
                read = distinct_tokens([asked.ids for asked in questions])
                usage = Usage(calls=len(questions), prompt_tokens=read, seconds=seconds)
                inquiry.succeed(ChoiceResult(odds=odds, usage=usage))
        except Exception as error:  # noqa: BLE001  # reported to those who wait
            _log.exception("The local model failed on %d questions.", sum(len(asked) for _, asked in waiting.values()))
            for inquiry, _ in waiting.values():
                inquiry.fail(BackendError(f"{self._name} failed while reading: {type(error).__name__}: {error}"))
            return left
        for inquiry, _ in waiting.values():
            inquiry.fail(BackendError(f"{self._name} was closed before it replied."))
        return left

    def _asked(self, question: ChoiceRequest) -> Asked:
        ids = self._chat.encode(question.messages).ids
        if len(ids) >= self._window:
            raise ContextLengthError(
                tokens=len(ids) + 1, limit=self._window, detail=f"(One response, as {self._name} is asked about it.)"
            )
        return Asked(ids, question.options, first_tokens(question.options, self._chat.literal))

    def _row(self, job: Job) -> Row:
        if job.request.grammar is None:
            raise ConfigError("The local backend writes replies of a given form only.")
        chat = self._chat.encode(job.request.messages)
        longest = self._longest(job.request.grammar)
        needed = len(chat.ids) + longest
        if needed > self._window:
            raise ContextLengthError(
                tokens=needed,
                limit=self._window,
                detail=f"({len(chat.ids):,} of them are the case, the rest is room for the reply of {self._name}.)",
            )
        return Row(
            prompt=chat.ids,
            grammar=job.request.grammar(),
            sampling=job.request.sampling,
            opening=chat.ending,
            longest=longest,
            cancelled=lambda: job.cancelled or self._closed,
        )

    def _longest(self, make: GrammarFactory) -> int:
        """Tokens that a reply of this form can take."""
        grammar, total, literal = make(), 0, ""
        answer: str | None = None
        while (item := _step(grammar, answer)) is not None:
            answer = None
            if isinstance(item, str):
                literal += item
            elif isinstance(item, Text):
                total, answer = total + item.max_tokens, ""
            elif isinstance(item, Choice):
                answer = max(item.options, key=len)
                literal += answer
        return total + len(self._chat.literal(literal))


def _close(reference: weakref.ref[LocalBackend]) -> None:
    if (backend := reference()) is not None:
        backend.close()


def _step(grammar: Grammar, answer: str | None) -> str | Choice | Text | None:
    try:
        return grammar.send(answer)
    except StopIteration:
        return None
