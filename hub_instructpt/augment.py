"""`Augment`: the callable for `Dataset.map` and `IterableDataset.map`.

    ds = ds.map(Augment("http://127.0.0.1:8080"), batched=True)

Keeps true: row for row; a row whose text is missing or failed gets no pairs, and the others are not touched by it.
The same settings, model and package version give the same fingerprint in any process, so that `map` finds its cache;
any other of them gives another. The server's address is no part of it: results do not depend on it. What was answered
is kept on disk (answers/), so that a map which died asks only for what is missing.
Does not know shards or cards.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import os
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import xxhash

from hub_instructpt import background
from hub_instructpt.answers import DEFAULT_MAX_BYTES, CachedEngine
from hub_instructpt.engines import EngineSpec, open_engine
from hub_instructpt.engines.base import Engine
from hub_instructpt.errors import EngineError, InputError, SettingsError
from hub_instructpt.records import PAIRS_TYPE, PROMPT_FORMAT, SamplingParams, whole_text
from hub_instructpt.synthesis import FailureBudget, Synthesis, Synthesizer
from hub_instructpt.version import __version__

LEAST_JOURNAL_BYTES = 2**20

TYPES = {"pairs": PAIRS_TYPE, "example_id": pa.string(), "shot_index": pa.int32()}

_log = logging.getLogger("hub_instructpt")


class Augment:
    """Adds instruction-response pairs to texts: columns `pairs`, `example_id` and `shot_index`.

    Args:
        engine: the address of a text-generation server, `local`, `local:PATH_OR_MODEL_ID`, `@FILE` with one of these a
            line, a list of any of them (they share the work), or an engine.
        text_column: the column that holds the raw text.
        num_shots: M. Texts are chained by M: each prompt carries the earlier texts of its chain with their pairs.
            Chains lie within one batch of the map.
        max_new_tokens: token limit of a completion.
        temperature, top_p: sampling; greedy by default.
        max_failed_share: stop with an error when more than this share of the texts fails.
        journal: keep completions under the Hugging Face cache, so that the same call again, in any process, asks only
            for what is missing. A folder keeps them there instead; False keeps none.
        journal_max_bytes: bound on everything kept there, of all models; the oldest goes first.
        engine_options: keyword arguments of the engine: `api_key`, `concurrency`, `timeout_seconds`, `model`,
            `max_total_tokens`, `wake_seconds`, …

    `map` waits for the slowest text of each batch, so large batches (1,000, its default) keep a server fuller than
    small ones. Works with `num_proc`, in a running event loop, and pickled; `acall` is its asynchronous twin.
    """

    def __init__(
        self,
        engine: EngineSpec = "local",
        *,
        text_column: str = "text",
        num_shots: int = 1,
        max_new_tokens: int = 400,
        temperature: float = 0.0,
        top_p: float = 1.0,
        max_failed_share: float = 0.05,
        journal: bool | str | os.PathLike[str] = True,
        journal_max_bytes: int = DEFAULT_MAX_BYTES,
        **engine_options: Any,
    ) -> None:
        self.engine = engine if isinstance(engine, str) or not isinstance(engine, Sequence) else list(engine)
        self.text_column = text_column
        self.num_shots = num_shots
        self.sampling = SamplingParams(max_new_tokens, temperature, top_p)
        self.max_failed_share = max_failed_share
        if journal_max_bytes < LEAST_JOURNAL_BYTES:
            raise SettingsError(
                f"journal_max_bytes must be at least {LEAST_JOURNAL_BYTES:,}, not {journal_max_bytes:,}.",
                advice="journal=False keeps nothing.",
            )
        self.journal, self.journal_max_bytes = journal, journal_max_bytes
        self.engine_options = engine_options
        self._model: dict[str, Any] | None = None
        self._here: tuple[int, Synthesizer, FailureBudget, CachedEngine | None] | None = None
        self._synthesizer()  # wrong settings are an error here, not hours later in a worker
        _register_fingerprint()

    def __call__(self, batch: Any) -> Any:
        """Augment one batch of rows: a dict of columns, or a table of a dataset that is formatted as tables."""
        return _deliver(batch, background.run(self._augment(self._texts(batch))))

    async def acall(self, batch: Any) -> Any:
        """Augment one batch of rows, from any event loop."""
        return _deliver(batch, await asyncio.wrap_future(background.submit(self._augment(self._texts(batch)))))

    # -- one batch -----------------------------------------------------------------------------------------------

    def _texts(self, batch: Any) -> list[Any]:
        columns = _columns(batch)
        if self.text_column not in columns:
            raise InputError(
                f"There is no column {self.text_column!r}; there are: {', '.join(columns) or 'none'}.",
                advice="Name the one with the raw text: Augment(…, text_column=…).",
            )
        table = _as_table(batch)
        column = batch[self.text_column] if table is None else table[self.text_column].to_pylist()
        if isinstance(column, str) or not hasattr(column, "__len__"):
            raise InputError("Augment takes batches of rows.", advice="Call map with batched=True.")
        # As an array of numbers, a column of nothing but missing values holds NaN.
        texts = [None if type(text).__name__.startswith("float") and text != text else text for text in column]
        table = getattr(batch, "pa_table", table)
        kind = None if table is None else table.schema.field(self.text_column).type
        strange = Counter(type(text).__name__ for text in texts if text is not None and not isinstance(text, str))
        # A formatted dataset gives arrays. Where a column has a type, none of its rows can be text.
        arrays = table is None and not isinstance(column, list) and strange.total() == len(texts)
        if (kind is not None and not _holds_text(kind)) or (arrays and texts):
            raise InputError(
                f"The column {self.text_column!r} holds {kind or ' or '.join(strange)}, not text.",
                advice="Name the one with the raw text: Augment(…, text_column=…).",
            )
        if strange:
            _log.warning("%d of %d rows hold %s, not text.", strange.total(), len(texts), " or ".join(sorted(strange)))
        return texts

    async def _augment(self, texts: list[Any]) -> dict[str, list[Any]]:
        rows = [i for i, text in enumerate(texts) if isinstance(text, str) and text.strip()]
        accepted = [whole_text(texts[i])[0] for i in rows]
        outcomes = [Synthesis() for _ in texts]
        ids = [_digest([str(text)]) for text in texts]
        synthesizer, budget, cache = self._synthesizer()
        at = 0
        async with contextlib.AsyncExitStack() as stack:
            if cache is not None:
                stack.push_async_callback(cache.flush)  # what was answered stays, whatever becomes of this batch
            # Closed when the budget is spent: else what is in flight would go on until somebody collects the garbage.
            chains = synthesizer.stream(_chains(accepted, self.num_shots))
            await stack.enter_async_context(contextlib.aclosing(chains))
            async for chain in chains:
                start = at
                for outcome in chain:
                    budget.record(outcome)
                    outcomes[rows[at]] = outcome
                    if outcome.shot_index == 0:
                        start = at
                    # An example is named by its first text; `shot_index` 0 tells where a repetition of it begins.
                    ids[rows[at]] = _digest([accepted[start]])
                    at += 1
        if at > 1:  # one text in a batch may well be the one that no engine can do
            budget.check()
        failures = Counter(outcome.failure for outcome in outcomes if outcome.failure)
        if failures:
            reasons = ", ".join(f"{reason}: {number}" for reason, number in failures.most_common())
            _log.warning("%d of %d texts got no pairs, because the engine failed (%s).", failures.total(), at, reasons)
        return {
            "pairs": [outcome.pairs for outcome in outcomes],
            "example_id": ids,
            "shot_index": [outcome.shot_index for outcome in outcomes],
        }

    def _synthesizer(self) -> tuple[Synthesizer, FailureBudget, CachedEngine | None]:
        """The synthesizer of this process: connections, models and open files do not survive a fork."""
        if self._here is None or self._here[0] != os.getpid():
            # An engine that was given as an object is copied: its connections stay with whoever gave it.
            spec = self.engine if isinstance(self.engine, str | list) else copy.copy(self.engine)
            engine = open_engine(spec, **self.engine_options)
            cache = None
            if self.journal:
                folder = None if self.journal is True else Path(self.journal).expanduser()
                engine = cache = CachedEngine(engine, folder, self.journal_max_bytes)
            weakref.finalize(self, _close, engine, os.getpid())
            self._here = (
                os.getpid(),
                Synthesizer(engine, self.sampling, self.num_shots),
                FailureBudget(self.max_failed_share),
                cache,
            )
        return self._here[1:]

    def begin_call(self) -> None:
        """With a temperature, equal texts within one call are different draws, and the same call again has the same.

        `Dataset.map` begins one. An `IterableDataset` does not: each time it is gone through, it draws anew.
        """
        cache = self._here[3] if self._here is not None and self._here[0] == os.getpid() else None
        if cache is not None:
            cache.begin_call()

    # -- identity: what `map` caches by, and what travels to its workers -------------------------------------------

    def identity(self) -> dict[str, Any]:
        """Everything that results depend on, and nothing else. Asks the engine for its model once."""
        if self._model is None:
            synthesizer, *_ = self._synthesizer()
            try:
                info = background.run(synthesizer.engine.connect())
            except EngineError:
                # Nothing can be cached for a model nobody knows; the map itself will say what is wrong.
                return {**self._settings(), "model": os.urandom(16).hex()}
            self._model = {
                "model": [info.model_id, info.model_sha],
                "bos": info.bos,
                "eos": info.eos,
                # Where a text is cut, and how many examples a prompt can show.
                "prompt_tokens": min(info.max_input_tokens, info.max_total_tokens - self.sampling.max_new_tokens),
            }
        return {**self._settings(), **self._model}

    def _settings(self) -> dict[str, Any]:
        return {
            "version": __version__,
            "prompt_format": PROMPT_FORMAT,
            "text_column": self.text_column,
            "num_shots": self.num_shots,
            "sampling": self.sampling.as_dict(),
        }

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_here": None, "version": __version__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        state.pop("version", None)
        self.__dict__.update(state)
        _register_fingerprint()

    def __repr__(self) -> str:
        return f"Augment(text_column={self.text_column!r}, num_shots={self.num_shots}, sampling={self.sampling})"


def _close(engine: Engine, pid: int) -> None:
    """Let go of an engine whose Augment is gone. What a fork inherited is its parent's."""
    if pid == os.getpid():
        with contextlib.suppress(Exception):
            closing = background.submit(engine.aclose())
            # After an interrupt the last reference may go away on that very loop.
            if not background.is_here():
                closing.result(timeout=2.0)


class _Column(list[Any]):
    """A column of Python values that knows its Arrow type.

    `map` guesses types from the values of its first batch, and fails later when that one happens to have no pairs.
    Arrow asks every object for `__arrow_array__` before it guesses.
    """

    def __init__(self, values: Sequence[Any], arrow_type: pa.DataType) -> None:
        super().__init__(values)
        self.arrow_type = arrow_type

    def __arrow_array__(self, type: pa.DataType | None = None) -> pa.Array:  # noqa: A002
        return pa.array(list(self), type or self.arrow_type)


def _deliver(batch: Any, columns: Mapping[str, Sequence[Any]]) -> Any:
    """The new columns in the shape that `map` takes for this kind of batch."""
    typed = {name: _Column(values, TYPES[name]) for name, values in columns.items()}
    table = _as_table(batch)
    if table is None:
        # ray.data gives plain dicts of arrays, and takes what it gets as the whole batch. `map` adds what it gets.
        arrays = type(batch) is dict and all(hasattr(column, "dtype") for column in batch.values())
        return {**batch, **typed} if arrays else typed
    # In place of a table, they take only a whole one.
    kept = table.select([name for name in table.column_names if name not in typed])
    for name, column in typed.items():
        kept = kept.append_column(name, pa.array(column))
    return kept


def _as_table(batch: Any) -> pa.Table | None:
    """A batch of a dataset that is formatted as tables; None for a dict of columns."""
    if isinstance(batch, pa.Table):
        return batch
    if hasattr(batch, "to_arrow"):  # polars
        return batch.to_arrow()
    return pa.Table.from_pandas(batch, preserve_index=False) if hasattr(batch, "to_records") else None


def _columns(batch: Any) -> list[str]:
    for names in ("column_names", "columns"):  # Arrow; pandas and polars
        if hasattr(batch, names):
            return [str(name) for name in getattr(batch, names)]
    return [str(name) for name in batch.keys()] if hasattr(batch, "keys") else []  # noqa: SIM118


def _holds_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    known = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    return any(test(kind) for test in known)


async def _chains(texts: Sequence[str], num_shots: int) -> AsyncIterator[Sequence[str]]:
    for start in range(0, len(texts), num_shots):
        yield texts[start : start + num_shots]


def _digest(texts: Sequence[str]) -> str:
    digest = xxhash.xxh3_128()
    for text in texts:
        digest.update(text.encode("utf-8", "replace") + b"\0")
    return digest.hexdigest()


def _register_fingerprint() -> None:
    """Let `datasets` hash an Augment by its identity; its address and its key are for the workers only."""
    try:
        from datasets.utils import _dill
    except ImportError:  # without it the address counts as well, and that is all
        return

    def save(pickler: Any, augment: Augment) -> None:
        augment.begin_call()  # `map` hashes its function before it begins
        pickler.save_reduce(_Fingerprint, (augment.identity(),), obj=augment)

    _dill.Pickler.dispatch[Augment] = save


class _Fingerprint:
    """Stands in for an Augment where `datasets` hashes it."""

    def __init__(self, identity: Mapping[str, Any]) -> None:
        self.identity = identity
