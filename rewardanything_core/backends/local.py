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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from rewardanything_core.backends._chat import ChatTokenizer
from rewardanything_core.backends._decoder import FormDecoder, Row
from rewardanything_core.backends._loading import identity_of, load, pick_device, window_of
from rewardanything_core.backends._odds import Asked, OddsReader, distinct_tokens, first_tokens
from rewardanything_core.backends.base import Backend, Completion, Question, Reading, Request
from rewardanything_core.errors import BackendError, ConfigError, ContextLengthError
from rewardanything_core.forms import Choice, Form, FormFactory, Text
from rewardanything_core.types import Usage

_log = logging.getLogger("rewardanything_core")

T = TypeVar("T")


class LocalBackend(Backend):
    """A chat model run through transformers, in batches, with its replies held to their form while decoding.

    Requests from anywhere join a queue; a thread of the backend's own takes them in batches of similar length. The
    model is loaded at construction.

    Args:
        model: Hugging Face hub id, or a folder.
        device: ``auto`` (CUDA, then Apple's MPS, then the CPU), ``cuda``, ``cuda:1``, ``mps`` or ``cpu``.
        dtype: ``auto`` or the name of a torch dtype. Auto is bfloat16 on GPUs and on CPUs that are fast at it, but
            float32 for models under a billion parameters and on all other CPUs.
        device_map: Passed to transformers, to spread a model over devices; then ``device`` is not used.
        quantization_config: Passed to transformers.
        trust_remote_code: Run Python code that comes with the model. Off unless asked for.
        revision: Branch, tag or commit on the hub.
        gguf_file: Name of a GGUF file in the folder or repository; it is dequantised while loading.
        max_batch_size: Most replies written at once.
        max_batch_tokens: Most prompt tokens in a batch, padding included.
        name: The model's name in verdicts. None: ``model``.

    Raises:
        MissingExtraError: torch or transformers is not installed.
        ConfigError: there is no such model or device, or it is no chat model.
    """

    follows_forms: ClassVar[bool] = True
    guards_markup: ClassVar[bool] = True

    def __init__(
        self,
        model: str | Path,
        *,
        device: str = "auto",
        dtype: str = "auto",
        device_map: str | Mapping[str, Any] | None = None,
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
            "trust_remote_code": trust_remote_code,
            "revision": revision,
            "gguf_file": gguf_file,
            "max_batch_size": max_batch_size,
            "max_batch_tokens": max_batch_tokens,
            "name": name,
        }
        self._quantization_config = quantization_config
        self._name = name or str(model)
        self._max_batch_size, self._max_batch_tokens = max_batch_size, max_batch_tokens
        where = None if device_map is not None else pick_device(device)
        common = {"trust_remote_code": trust_remote_code, "revision": revision}
        if gguf_file:
            common["gguf_file"] = gguf_file
        self._model, tokenizer = load(str(model), where, dtype, device_map, quantization_config, common)
        self._chat = ChatTokenizer(tokenizer, name=self._name)
        self._decoder = FormDecoder(self._model, tokenizer, self._chat)
        self._odds = OddsReader(self._model, trees=self._decoder.sees_all)
        self._reasons = "<think>" in str(tokenizer.chat_template)
        self._window = window_of(self._model.config)
        self._queue: queue.Queue[_Job | _Inquiry | None] = queue.Queue()
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
    def gives_odds(self) -> bool:
        """True."""
        return True

    def prefers_odds(self) -> bool:
        """True unless its chat template knows of think tags: a model that was trained to reason should do so."""
        return not self._reasons

    async def complete(self, request: Request) -> Completion:
        """Queue the request and wait for its reply."""
        job = _Job(asyncio.get_running_loop(), asyncio.get_running_loop().create_future(), request)
        self._enqueue(job)
        return await job.future

    async def choose(self, questions: Sequence[Question]) -> Reading:
        """Queue the questions and wait until they are read off, in one go with those of others."""
        inquiry = _Inquiry(asyncio.get_running_loop(), asyncio.get_running_loop().create_future(), tuple(questions))
        self._enqueue(inquiry)
        return await inquiry.future

    def _enqueue(self, errand: _Job | _Inquiry) -> None:
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
            "quantization": repr(self._quantization_config) if self._quantization_config is not None else None,
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
        waiting: list[_Job] = []
        inquiries: list[_Inquiry] = []
        while not self._closed:
            if not waiting:
                errand = self._queue.get()
                if errand is None:
                    break
                time.sleep(0.005)  # callers come in bursts; a moment's wait makes one batch of them
                _sort_in(errand, waiting, inquiries)
            while not self._queue.empty():
                _sort_in(self._queue.get(), waiting, inquiries)
            if inquiries:  # short, and whoever writes can wait for them
                self._read(inquiries)
                inquiries = []
            waiting = [job for job in waiting if self._prepare(job)]
            batch = _next_batch(waiting, self._max_batch_size, self._max_batch_tokens)
            waiting = [job for job in waiting if job not in batch]
            if batch:
                self._write(batch)
        left: list[_Job | _Inquiry] = [*waiting, *inquiries]
        for job in left:
            job.fail(BackendError(f"{self._name} was closed before it replied."))

    def _read(self, inquiries: Sequence[_Inquiry]) -> None:
        """Read off the questions of all inquiries, side by side."""
        ready: list[tuple[_Inquiry, list[Asked]]] = []
        for inquiry in inquiries:
            if inquiry.cancelled:
                continue
            try:
                ready.append((inquiry, [self._asked(question) for question in inquiry.questions]))
            except Exception as error:  # noqa: BLE001  # whatever it is belongs to this inquiry alone
                inquiry.fail(error)
        if not ready:
            return
        started = time.perf_counter()
        try:
            odds = self._odds.read(
                [asked for _, questions in ready for asked in questions],
                cancelled=lambda: self._closed or all(inquiry.cancelled for inquiry, _ in ready),
            )
        except Exception as error:  # noqa: BLE001  # reported to those who wait
            _log.exception("The local model failed on %d questions.", sum(len(asked) for _, asked in ready))
            for inquiry, _ in ready:
                inquiry.fail(BackendError(f"{self._name} failed while reading: {type(error).__name__}: {error}"))
            return
        seconds = (time.perf_counter() - started) / len(ready)
        for inquiry, questions in ready:
            if not odds:
                inquiry.fail(BackendError(f"{self._name} was closed before it replied."))
                continue
            mine, odds = odds[: len(questions)], odds[len(questions) :]
            read = distinct_tokens([asked.ids for asked in questions])
            usage = Usage(calls=len(questions), prompt_tokens=read, seconds=seconds)
            inquiry.succeed(Reading(odds=tuple(mine), usage=usage))

    def _asked(self, question: Question) -> Asked:
        ids = self._chat.encode(question.messages).ids
        if len(ids) >= self._window:
            raise ContextLengthError(
                tokens=len(ids) + 1, limit=self._window, detail=f"(One response, as {self._name} is asked about it.)"
            )
        return Asked(ids, question.options, first_tokens(question.options, self._chat.literal))

    def _prepare(self, job: _Job) -> bool:
        """Tokenize once; False for a job that is cancelled or has failed."""
        if job.cancelled or job.row is not None:
            return not job.cancelled
        try:
            job.row = self._row(job)
        except Exception as error:  # noqa: BLE001  # whatever it is belongs to this job alone
            job.fail(error)
            return False
        return True

    def _row(self, job: _Job) -> Row:
        if job.request.form is None:
            raise ConfigError("The local backend writes replies of a given form only.")
        chat = self._chat.encode(job.request.messages)
        needed = len(chat.ids) + self._longest(job.request.form)
        if needed > self._window:
            raise ContextLengthError(
                tokens=needed,
                limit=self._window,
                detail=f"({len(chat.ids):,} of them are the case, the rest is room for the reply of {self._name}.)",
            )
        return Row(
            prompt=chat.ids,
            form=job.request.form(),
            sampling=job.request.sampling,
            opening=chat.ending,
            cancelled=lambda: job.cancelled or self._closed,
        )

    def _longest(self, make: FormFactory) -> int:
        """Tokens that a reply of this form can take."""
        form, total, literal = make(), 0, ""
        answer: str | None = None
        while (item := _step(form, answer)) is not None:
            answer = None
            if isinstance(item, str):
                literal += item
            elif isinstance(item, Text):
                total, answer = total + item.max_tokens, ""
            elif isinstance(item, Choice):
                answer = max(item.options, key=len)
                literal += answer
        return total + len(self._chat.literal(literal))

    def _write(self, batch: Sequence[_Job]) -> None:
        rows = [job.row for job in batch if job.row is not None]
        started = time.perf_counter()
        try:
            self._decoder.run(rows)
        except Exception as error:  # noqa: BLE001  # reported to those who wait
            if _out_of_memory(error) and len(batch) > 1:
                self._again_in_halves(batch)
                return
            _log.exception("The local model failed on a batch of %d.", len(batch))
            for job in batch:
                job.fail(BackendError(f"{self._name} failed while writing: {type(error).__name__}: {error}"))
            return
        seconds = (time.perf_counter() - started) / max(1, len(batch))
        for job, row in zip(batch, rows, strict=True):
            if row.place is not None:  # cancelled, or cut short by close()
                job.fail(BackendError(f"{self._name} was closed before it replied."))
                continue
            usage = Usage(calls=1, prompt_tokens=len(row.prompt), completion_tokens=row.written, seconds=seconds)
            tokens = tuple(row.pieces) if job.request.token_probabilities else ()
            job.succeed(Completion(answer=row.reply, usage=usage, tokens=tokens))

    def _again_in_halves(self, batch: Sequence[_Job]) -> None:
        import torch

        torch.cuda.empty_cache()
        _log.warning("Out of memory with %d replies at once; going on with half as many.", len(batch))
        self._max_batch_size = max(1, len(batch) // 2)
        for half in (batch[: len(batch) // 2], batch[len(batch) // 2 :]):
            for job in half:
                job.row = self._row(job)
            self._write(half)


@dataclass(eq=False)
class _Errand(Generic[T]):
    """Something on its way through the backend's thread."""

    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[T]

    @property
    def cancelled(self) -> bool:
        return self.future.cancelled()

    def succeed(self, result: T) -> None:
        self._settle(lambda: self.future.set_result(result))

    def fail(self, error: Exception) -> None:
        self._settle(lambda: self.future.set_exception(error))

    def _settle(self, act: Any) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(lambda: None if self.future.done() else act())


@dataclass(eq=False)
class _Job(_Errand[Completion]):
    """A request for a reply."""

    request: Request
    row: Row | None = None


@dataclass(eq=False)
class _Inquiry(_Errand[Reading]):
    """Questions to be read off."""

    questions: tuple[Question, ...]


def _sort_in(errand: _Job | _Inquiry | None, jobs: list[_Job], inquiries: list[_Inquiry]) -> None:
    if isinstance(errand, _Job):
        jobs.append(errand)
    elif errand is not None:
        inquiries.append(errand)


def _close(reference: weakref.ref[LocalBackend]) -> None:
    if (backend := reference()) is not None:
        backend.close()


def _next_batch(waiting: Sequence[_Job], size: int, tokens: int) -> list[_Job]:
    """The job that has waited longest, with those nearest to it in length among the ones that came next."""
    if not waiting:
        return []
    first = waiting[0]
    length = _length(first)
    peers = sorted(waiting[1 : 8 * size], key=lambda job: abs(_length(job) - length))
    batch, longest = [first], length
    for job in peers[: size - 1]:
        longest = max(longest, _length(job))
        if longest * (len(batch) + 1) > tokens:
            break
        batch.append(job)
    return batch


def _length(job: _Job) -> int:
    return len(job.row.prompt) if job.row is not None else 0


def _step(form: Form, answer: str | None) -> str | Choice | Text | None:
    try:
        return form.send(answer)
    except StopIteration:
        return None


def _out_of_memory(error: Exception) -> bool:
    return type(error).__name__ == "OutOfMemoryError"
