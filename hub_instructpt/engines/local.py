"""A causal LM in this process, behind the same one verb as every server.

Waiting prompts are collected, sorted by length and run in left-padded batches, which they leave as they end. On a CPU
that is three to five times faster than one prompt at a time (benchmarks/README.md), with the same greedy tokens, and
faster than continuous batching as transformers has it. Sorting keeps the padding small.

Keeps true: prompts carry their BOS as text and are tokenised without special tokens, so the model sees exactly one;
a prompt that fails touches no other; torch runs in one thread of its own. Does not know pairs, rows or files.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hub_instructpt.engines import local_model
from hub_instructpt.engines.base import HomeLoop, rebuild
from hub_instructpt.engines.load import Load, Meter
from hub_instructpt.engines.local_model import LocalModel
from hub_instructpt.engines.options import OF_SERVERS, refuse
from hub_instructpt.errors import EngineUnavailable, RequestFailed, SettingsError
from hub_instructpt.records import Completion, EngineInfo, SamplingParams

TINY_SYNTHESIZER = Path(__file__).parent.parent / "tiny_synthesizer"
MOST_PASSED = 32
TINY_ID = "hub-instructpt/tiny-synthesizer"

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Waiting:
    ids: list[int]
    sampling: SamplingParams
    answer: asyncio.Future[Completion]
    passed: int = 0  # batches in which longer ones were preferred


class LocalEngine:
    """Runs a causal LM of transformers on what is there: CUDA, Apple's MPS, or the CPU.

    Args:
        model: folder or Hub id of the model; None for the tiny synthesizer of this package.
        revision: branch, tag or commit of a model on the Hub.
        device: `cpu`, `cuda`, `mps`, …; chosen by what is there when None.
        batch_size: prompts in one padded batch.
        concurrency: prompts taken in at a time; more of them make better sorted batches.
    """

    kind = "local"

    def __init__(
        self,
        model: str | None = None,
        *,
        revision: str | None = None,
        device: str | None = None,
        batch_size: int = 32,
        concurrency: int | None = None,
        **ignored: Any,
    ) -> None:
        self._arguments = {
            "model": model,
            "revision": revision,
            "device": device,
            "batch_size": batch_size,
            "concurrency": concurrency,
        }
        # Options that only servers have mean nothing here, and are no mistake either: one call opens either.
        refuse(set(ignored) - OF_SERVERS, "local")
        if batch_size < 1:
            raise SettingsError(f"batch_size must be at least 1, not {batch_size}.")
        if concurrency is not None and concurrency < 1:
            raise SettingsError(f"concurrency must be at least 1, not {concurrency}.")
        self._path = str(model or TINY_SYNTHESIZER)
        # Where a folder lies on this machine is nobody's business; manifests and cards are published.
        self._model_id = TINY_ID if model is None else Path(model).resolve().name if Path(model).is_dir() else model
        self._revision = revision
        self._device = device
        self._batch_size = batch_size
        self._concurrency = concurrency or 8 * batch_size
        self.address = "local" if model is None else f"local:{model}"
        self._home = HomeLoop()
        self._forget()

    def _forget(self) -> None:
        """Be as before the first connection."""
        self._loading = asyncio.Lock()
        self._info: EngineInfo | None = None
        self._model: LocalModel | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._worker: asyncio.Task[None] | None = None
        self._waiting: list[_Waiting] = []
        self._taken = 0
        self._meter = Meter()

    async def connect(self) -> EngineInfo:
        if not self._home.enter():
            self._forget()
        if self._info is None:
            async with self._loading:
                if self._info is None:
                    self._info = await self._load()
        return self._info

    async def complete(self, prompt: str, sampling: SamplingParams) -> Completion:
        info = await self.connect()
        ids = self._loaded().encode(prompt)
        if not 0 < len(ids) <= info.input_budget(sampling):
            raise RequestFailed(
                f"A prompt of {len(ids)} tokens does not fit {self._model_id}.",
                reason="prompt_too_long" if ids else "prompt_empty",
                attempts=1,
                passing=False,
            )
        waiting = _Waiting(ids, sampling, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        began, load = self._meter.moved(self._taken, 1), self._meter.load  # one prompt is enough to keep it busy
        self._taken += 1
        try:
            completion = await waiting.answer
        except Exception:
            load.failed += 1
            raise
        finally:
            now = self._meter.moved(self._taken, 1)
            self._taken -= 1
        load.answered, load.answer_seconds = load.answered + 1, load.answer_seconds + now - began
        load.tokens += completion.generated_tokens or 0
        return completion

    async def count_tokens(self, text: str) -> int:
        await self.connect()
        return len(self._loaded().encode(text))

    def loads(self) -> Sequence[Load]:
        """How busy the model is and was."""
        load, concurrency = self._meter.load, self._concurrency
        return [replace(load, address=self.address, limit=concurrency, in_flight=self._taken)]

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy knows how to connect, and is not connected.
        return rebuild, (type(self), self._arguments)

    async def aclose(self) -> None:
        model, thread, worker, waiting = self._model, self._thread, self._worker, self._waiting
        self._home.leave()
        self._forget()
        if model is not None:
            model.closing.set()  # a batch that runs stops at its next token
        if worker is not None:
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)
        for one in waiting:
            one.answer.cancel()
        if thread is not None:
            await asyncio.to_thread(thread.shutdown)

    async def _load(self) -> EngineInfo:
        self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="local-engine")
        self._model = model = await asyncio.get_running_loop().run_in_executor(
            self._thread, local_model.load, self._path, self._revision, self._device
        )
        return EngineInfo(
            kind=self.kind,
            model_id=self._model_id,
            model_sha=model.revision,
            max_input_tokens=model.max_tokens - 1,
            max_total_tokens=model.max_tokens,
            max_concurrent_requests=self._concurrency,
            bos=model.tokenizer.bos_token or "",
            eos=model.tokenizer.eos_token,
            version=model.version,
            dtype=model.dtype,
            special_tokens=tuple(model.tokenizer.all_special_tokens),
        )

    def _loaded(self) -> LocalModel:
        if self._model is None:
            raise EngineUnavailable("The engine was closed.")
        return self._model

    # -- batching ------------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        """Run what waits, longest first, until nothing waits any more."""
        model, thread = self._loaded(), self._thread
        while True:
            # Let everybody who is about to ask do so: callers that were just answered ask again within a tick or two.
            for _ in range(3):
                await asyncio.sleep(0)
            if not (batch := self._next_batch()):
                return
            try:
                await asyncio.get_running_loop().run_in_executor(thread, self._run, model, batch)
            except asyncio.CancelledError:
                for w in batch:
                    w.answer.cancel()
                raise
            except Exception as error:  # whatever torch raises, the callers must hear of it
                _log.debug("a batch of %d failed: %s", len(batch), type(error).__name__)
                for w in batch:
                    if not w.answer.done():
                        w.answer.set_exception(self._failure(len(batch), error))

    @staticmethod
    def _run(model: LocalModel, batch: list[_Waiting]) -> None:
        """Run a batch, on the engine's thread; each caller is answered as soon as its own completion has ended."""

        def answer(waiting: _Waiting, completion: Completion) -> None:
            if not waiting.answer.done():
                waiting.answer.set_result(completion)

        for number, completion in model.generate([w.ids for w in batch], batch[0].sampling):
            batch[number].answer.get_loop().call_soon_threadsafe(answer, batch[number], completion)

    def _next_batch(self) -> list[_Waiting]:
        """Take a batch out of what waits, if anything does."""
        self._waiting = [w for w in self._waiting if not w.answer.done()]
        if not self._waiting:
            return []
        # Prompts drawn in different ways can not share a batch. The longest first: if memory is short, it shows.
        sampling = self._waiting[0].sampling
        alike = sorted((w for w in self._waiting if w.sampling == sampling), key=lambda w: -len(w.ids))
        # But short ones must get their turn: their rows are waited for, and everything after them with them.
        longest_passed = max(range(len(alike)), key=lambda index: alike[index].passed)
        start = longest_passed if alike[longest_passed].passed >= MOST_PASSED else 0
        start = max(0, min(start, len(alike) - self._batch_size))
        batch = alike[start : start + self._batch_size]
        taken = {id(w) for w in batch}
        for w in alike:
            w.passed += 1
        self._waiting = [w for w in self._waiting if id(w) not in taken]
        return batch

    def _failure(self, size: int, error: Exception) -> RequestFailed:
        return RequestFailed(
            f"{self._model_id} failed on a batch of {size}: {type(error).__name__}.",
            reason=f"local_{type(error).__name__}",
            attempts=1,
            passing=False,
            advice="A smaller batch_size needs less memory.",
        )
