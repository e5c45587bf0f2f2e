"""A fine-tuning collection as it is read: its datasets, and the examples of each, one after the other.

    DIR                 what `collect` wrote, or the same layout without a manifest: NAME/shard/*.jsonl
    DIR/NAME            one dataset of it
    FILE.jsonl          one dataset

Keeps true: files are read line by line; a line that is no record is counted with its reason, and so is a pair without
words. Does not know tokens, or what an example is used for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import xxhash

from hub_instructpt.collection.manifest import Collection, LicenceFacts
from hub_instructpt.errors import InputError, SettingsError
from hub_instructpt.records import Example, Pair, whole_text
from hub_instructpt.runs.manifest import MANIFEST


@dataclass(frozen=True, slots=True)
class Part:
    """One dataset of a collection. What is not known of it is None."""

    name: str
    shards: Sequence[Path]
    licence: LicenceFacts | None = None
    source: str | None = None
    homepage: str | None = None
    num_records: int | None = None


def open_parts(where: Path, only: Sequence[str] = ()) -> list[Part]:
    """The datasets at a place.

    Args:
        where: a collection, one dataset of it, or a file of records.
        only: names of those that are wanted; all of them when empty.

    Raises:
        InputError: there is none, or a file that the manifest names is missing.
        SettingsError: `only` names one that is not there.
    """
    parts = _found(where)
    if not parts:
        raise InputError(
            f"{where} holds no fine-tuning collection: no NAME/shard/*.jsonl.",
            advice="Make one with `hub-instructpt collect NAME… --out DIR`.",
        )
    there = {part.name: part for part in parts}
    for name in only:
        if name not in there:
            raise SettingsError(f"{where} holds no dataset {name[:100]!r}.", advice=f"It holds {', '.join(there)}.")
    return [part for part in parts if not only or part.name in only]


def _found(where: Path) -> list[Part]:
    if where.is_file():
        return [Part(where.name.partition(".")[0] or where.name, (where,))]
    if (where / MANIFEST).exists():
        return [_declared(where, facts.name, Collection.load(where)) for facts in Collection.load(where).datasets]
    if shards := sorted(where.glob("shard/*.jsonl")):
        return [Part(where.resolve().name, shards)]
    names = sorted({path.parent.parent.name for path in where.glob("*/shard/*.jsonl")}, key=str.casefold)
    return [Part(name, sorted((where / name / "shard").glob("*.jsonl"))) for name in names]


def _declared(folder: Path, name: str, collection: Collection) -> Part:
    facts = collection.find(name)
    assert facts is not None
    shards = [folder / shard.path for shard in facts.shards]
    for shard in shards:
        if not shard.is_file():
            raise InputError(
                f"{shard} is missing.", advice=f"Make it again: hub-instructpt collect {name} --out {folder}."
            )
    source = facts.source.name if facts.source.kind == "hub" else None
    return Part(name, shards, facts.licence, source, facts.homepage, facts.num_records)


def read(part: Part, counts: Counter[str] | None = None) -> Iterator[Example]:
    """The examples of a dataset, in their order.

    Args:
        counts: gets `records/read`, `records_rejected/REASON`, `pairs/read` and `pairs_rejected/REASON`.

    Raises:
        InputError: a file can not be read.
    """
    counts = Counter() if counts is None else counts
    for shard in part.shards:
        try:
            with shard.open("rb") as lines:
                for line in lines:
                    if line.strip():
                        counts["records/read"] += 1
                        example = _example(line, counts)
                        if isinstance(example, str):
                            counts[f"records_rejected/{example}"] += 1
                        else:
                            yield example
        except OSError as error:
            raise InputError(f"{shard} can not be read: {error.strerror or error}.") from None


def _example(line: bytes, counts: Counter[str]) -> Example | str:
    """The example of a line, or why it has none."""
    try:
        record: Any = orjson.loads(line)
    except orjson.JSONDecodeError:
        return "not_json"
    if not isinstance(record, dict) or not isinstance(record.get("QA_list"), list):
        return "not_a_record"
    context = record.get("context")
    if not isinstance(context, str) or not context.strip():
        return "no_context"
    pairs: list[Pair] = []
    for qa in record["QA_list"]:
        counts["pairs/read"] += 1
        question, answer = (qa.get("Q"), qa.get("A")) if isinstance(qa, dict) else (None, None)
        if not (isinstance(question, str) and isinstance(answer, str) and question.strip() and answer.strip()):
            counts["pairs_rejected/empty_or_no_text"] += 1
            continue
        pairs.append({"instruction": whole_text(question)[0], "response": whole_text(answer)[0]})
    return {"context": whole_text(context)[0], "pairs": pairs} if pairs else "no_pairs"


def digest(context: str) -> int:
    """64 bits that tell a context, whatever its case and white space."""
    return xxhash.xxh3_64_intdigest(" ".join(context.split()).casefold().encode())


def rank(digest: int, seed: int) -> int:
    """The place of a context in a random order that depends on nothing but its words and a seed."""
    return xxhash.xxh3_64_intdigest(digest.to_bytes(8, "little"), seed=seed)
