"""The engine of the double: a real model in a batching thread.

`ModelEngine` collects the prompts that wait, sorts them by length and runs left-padded greedy batches; what it answers
is really generated. Greedy output is remembered by prompt ids, in memory and (with a cache folder) on disk, and a
longer answer serves every shorter limit, since greedy decoding of n tokens is a prefix of that of n + 1. Seeded
sampling and a repetition penalty run alone, outside batches and memory.

Keeps true: an ask whose future was cancelled before its batch starts costs nothing; a batch that fails, fails for all
who are in it.
Does not know: HTTP, permits, faults. Batches are padded, not continuous: an ask waits for the batch before it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from tests.doubles.decoding import Completion, report
from tests.doubles.tgi_requests import Ask

GATHER_SECONDS = 0.004
"""How long a batch waits for company; about the time in which a burst of requests is parsed."""


class Engine(Protocol):
    """What the server needs of an engine."""

    bos_id: int | None

    def encode(self, text: str, truncate: int | None, *, add_bos: bool | None = None) -> tuple[int, ...]: ...
    def simple_tokens(self, text: str) -> list[dict[str, Any]]: ...
    async def complete(self, ask: Ask) -> Completion: ...
    @property
    def waiting(self) -> int: ...


@dataclass
class Generated:
    """What a model gave for a prompt: ids with their log-probabilities, and whether it came to an end by itself."""

    ids: list[int]
    logprobs: list[float]
    ended: bool

    def serves(self, limit: int) -> bool:
        return self.ended or len(self.ids) >= limit


class Memory:
    """Greedy outputs by prompt ids; on disk, one file each, written whole so that processes can share a folder."""

    def __init__(self, folder: Path | None, fingerprint: str) -> None:
        self.folder, self.fingerprint = folder, fingerprint
        self.known: dict[tuple[int, ...], Generated] = {}
        if folder:
            folder.mkdir(parents=True, exist_ok=True)

    def _file(self, ids: tuple[int, ...]) -> Path:
        name = hashlib.sha256(f"{self.fingerprint} {ids}".encode()).hexdigest()
        return Path(self.folder or ".") / f"{name}.json"

    def get(self, ids: tuple[int, ...], limit: int) -> Generated | None:
        found = self.known.get(ids)
        if found is None and self.folder and (file := self._file(ids)).exists():
            found = self.known[ids] = Generated(**json.loads(file.read_text()))
        return found if found and found.serves(limit) else None

    def put(self, ids: tuple[int, ...], generated: Generated) -> None:
        self.known[ids] = generated
        if self.folder:
            file = self._file(ids)
            partial = file.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
            partial.write_text(json.dumps(vars(generated)))
            partial.replace(file)


@dataclass
class Waiting:
    """An ask in the queue, with the future of its answer."""

    ask: Ask
    future: Future[Completion]
    since: float


class ModelEngine:
    """A causal language model from a folder, with its own tokenizer."""

    def __init__(
        self, path: str, *, batch_size: int = 32, threads: int = 1, cache: str | None = None, add_bos: bool = True
    ) -> None:
        # Imported here: the instant engine must start fast and needs neither.
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        # One thread: a model this small gains nothing from a second, and on a busy machine two threads that wait for
        # each other were measured 25 times slower.
        torch.set_num_threads(threads)
        self.torch, self.batch_size, self.add_bos = torch, batch_size, add_bos
        self.tokenizer: Any = AutoTokenizer.from_pretrained(path, local_files_only=True)
        self.model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, local_files_only=True).eval()
        self.bos_id: int | None = self.tokenizer.bos_token_id
        self.eos_ids = self._end_ids()
        pad = self.tokenizer.pad_token_id
        self.pad_id = pad if pad is not None else min(self.eos_ids, default=0)
        # A blank one, so that a temperature in the model's folder does not turn greedy requests into sampled ones.
        self.model.generation_config = GenerationConfig(
            pad_token_id=self.pad_id, eos_token_id=sorted(self.eos_ids) or None, do_sample=False
        )
        self.memory = Memory(Path(cache) if cache else None, _fingerprint(Path(path)))
        self.queue: queue.SimpleQueue[Waiting] = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True, name="generation").start()

    def _end_ids(self) -> set[int]:
        found = self.model.generation_config.eos_token_id
        found = self.tokenizer.eos_token_id if found is None else found
        return set(found) if isinstance(found, list) else {found} - {None}

    # Tokens -----------------------------------------------------------------------------------------------------------

    def encode(self, text: str, truncate: int | None, *, add_bos: bool | None = None) -> tuple[int, ...]:
        """The ids that the model sees: specials are added whatever the text starts with, unless a request says not to.

        `truncate` keeps the special tokens and the end of the text, as the shard does.
        """
        adds = self.add_bos if add_bos is None else add_bos
        ids = list(self.tokenizer(text, add_special_tokens=adds)["input_ids"])
        if truncate is not None and len(ids) > truncate:
            content = self.tokenizer(text, add_special_tokens=False)["input_ids"]
            added = ids[: len(ids) - len(content)][:truncate]
            ids = added + content[len(content) - (truncate - len(added)) :]
        return tuple(ids)

    def simple_tokens(self, text: str) -> list[dict[str, Any]]:
        encoding = self.tokenizer.backend_tokenizer.encode(text, add_special_tokens=self.add_bos)
        return [
            {"id": token, "text": text[start:stop], "start": start, "stop": stop}
            for token, (start, stop) in zip(encoding.ids, encoding.offsets, strict=True)
        ]

    # Answers ----------------------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        return self.queue.qsize()

    async def complete(self, ask: Ask) -> Completion:
        if ask.sampling is None and (known := self.memory.get(ask.ids, ask.limit)):
            return self._report(ask, known)
        waiting = Waiting(ask, Future(), time.perf_counter())
        self.queue.put(waiting)
        return await asyncio.wrap_future(waiting.future)

    def _report(self, ask: Ask, generated: Generated) -> Completion:
        told = report(
            self.tokenizer, ask.ids, generated.ids, generated.logprobs,
            eos_ids=self.eos_ids, limit=ask.limit, stop=ask.stop, details=ask.details,
        )  # fmt: skip
        return replace(told, seed=ask.sampling.seed if ask.sampling and ask.sampling.do_sample else None)

    def _work(self) -> None:
        """The thread: gather, sort by length, generate; for ever."""
        while True:
            gathered = [self.queue.get()]
            time.sleep(GATHER_SECONDS)
            while not self.queue.empty():
                gathered.append(self.queue.get())
            self._serve([w for w in gathered if w.ask.sampling is None])
            for waiting in (w for w in gathered if w.ask.sampling is not None):
                if waiting.future.set_running_or_notify_cancel():
                    self._settle(waiting, self._sample, time.perf_counter())

    def _serve(self, gathered: list[Waiting]) -> None:
        # Equal limits side by side: a batch runs as long as its longest member.
        todo = sorted(gathered, key=lambda w: (w.ask.limit, len(w.ask.ids)))
        while todo:
            batch, todo = todo[: self.batch_size], todo[self.batch_size :]
            alive = [w for w in batch if w.future.set_running_or_notify_cancel()]
            started = time.perf_counter()
            missing = {w.ask.ids: w.ask.limit for w in alive if not self.memory.get(w.ask.ids, w.ask.limit)}
            try:
                if missing:
                    self._greedy(list(missing), max(missing.values()))
            except Exception as error:
                # As on a real shard, the whole batch fails together.
                for waiting in alive:
                    waiting.future.set_exception(error)
                continue
            for waiting in alive:
                self._settle(waiting, lambda ask: self.memory.known[ask.ids], started)

    def _settle(self, waiting: Waiting, generate: Callable[[Ask], Generated], started: float) -> None:
        try:
            told = self._report(waiting.ask, generate(waiting.ask))
            waiting.future.set_result(replace(told, queued_seconds=started - waiting.since))
        except Exception as error:
            waiting.future.set_exception(error)

    def _greedy(self, rows: list[tuple[int, ...]], limit: int) -> None:
        torch = self.torch
        width = max(map(len, rows))
        ids = torch.tensor([[self.pad_id] * (width - len(row)) + list(row) for row in rows])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        logprobs: list[Any] = []

        def note(_: Any, scores: Any) -> Any:
            logprobs.append(scores.max(-1).values - scores.logsumexp(-1))
            return scores

        with torch.inference_mode():
            out = self.model.generate(ids, attention_mask=mask, max_new_tokens=limit, logits_processor=[note])
        for row, new, likely in zip(rows, out[:, width:].tolist(), torch.stack(logprobs, 1).tolist(), strict=True):
            self.memory.put(row, self._cut(new, likely))

    def _sample(self, ask: Ask) -> Generated:
        """One prompt alone, so that its seed alone decides; a real server gives less than that."""
        torch, how = self.torch, ask.sampling
        assert how is not None
        torch.manual_seed(how.seed % 2**63)
        warp = {"temperature": how.temperature, "top_k": how.top_k, "top_p": how.top_p, "typical_p": how.typical_p}
        ids = torch.tensor([ask.ids])
        with torch.inference_mode():
            out = self.model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=ask.limit, do_sample=how.do_sample,
                repetition_penalty=how.repetition_penalty, output_logits=True, return_dict_in_generate=True,
                **(warp if how.do_sample else {}),
            )  # fmt: skip
            new = out.sequences[0, ids.shape[1] :]
            likely = torch.cat(out.logits).log_softmax(-1).gather(1, new[:, None])[:, 0]
        return self._cut(new.tolist(), likely.tolist())

    def _cut(self, new: list[int], likely: list[float]) -> Generated:
        end = next((i for i, token in enumerate(new) if token in self.eos_ids), None)
        kept = len(new) if end is None else end + 1
        return Generated(new[:kept], likely[:kept], ended=end is not None)


def _fingerprint(path: Path) -> str:
    """A hash of a model's files, so that a cache of outputs never outlives the weights that gave them."""
    hashed = hashlib.sha256()
    for file in sorted(path.glob("*")) if path.is_dir() else []:
        if file.suffix in {".safetensors", ".json", ".bin"}:
            hashed.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
    return hashed.hexdigest() if path.is_dir() else str(path)
