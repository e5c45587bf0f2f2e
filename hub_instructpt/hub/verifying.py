"""A repo, downloaded and checked against what its manifest claims.

Keeps true: nothing is changed; every byte that a manifest names is fetched and hashed here, one file at a time, so that
a corpus needs no more room than its largest file; what is checked is one commit.
Does not know what makes a pair a good one.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import HfApi
from pydantic import ValidationError

from hub_instructpt import cards
from hub_instructpt.collection.manifest import Collection
from hub_instructpt.errors import CardError, InputError
from hub_instructpt.hub.attempts import Advance, until_through
from hub_instructpt.hub.failures import new_api
from hub_instructpt.hub.layout import Layout, configs_in
from hub_instructpt.hub.pushing import CARD, is_manifest
from hub_instructpt.hub.repos import Repo, There, check_repo_id
from hub_instructpt.mixing.manifest import Mixture
from hub_instructpt.runs.files import sha256
from hub_instructpt.runs.manifest import Manifest
from hub_instructpt.runs.verify import faults_between_shards, faults_in_shard


class Named(Protocol):
    """A file as a manifest names it."""

    @property
    def path(self) -> str: ...
    @property
    def num_bytes(self) -> int: ...
    @property
    def sha256(self) -> str: ...
    @property
    def num_rows(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Claim:
    """What a manifest says of a file.

    Attributes:
        path: in the directory that was pushed.
        there: in the repo.
        num_rows: None where it holds none.
        check: looks deeper into the file, which lies at `path` below the folder that it is given.
    """

    path: str
    there: str
    num_bytes: int
    sha256: str
    num_rows: int | None
    check: Callable[[Path], Iterator[str]] | None = None


@dataclass(frozen=True, slots=True)
class _Book:
    """A manifest: what it claims of files and of the rows of each config, and what is wrong with itself."""

    claims: list[Claim]
    configs: dict[str, int]
    faults: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Verified:
    """What was found: faults, and how much was checked."""

    repo_id: str
    commit: str
    findings: list[str] = field(default_factory=list)
    files: int = 0
    rows: int = 0
    num_bytes: int = 0


def verify_repo(
    repo_id: str, revision: str | None = None, tick: Callable[[int], None] = lambda num_bytes: None
) -> Verified:
    """Download a dataset repo and check it.

    Args:
        repo_id: NAMESPACE/NAME.
        revision: branch, tag or commit.
        tick: called with the bytes of each file that is checked.

    Raises:
        InputError: there is no such repo, or nothing in it that was pushed by hub-instructpt.
        HubError: the Hub does not answer.
    """
    check_repo_id(repo_id)
    api, doing, advance = new_api(), f"verify {repo_id}", Advance()
    repo = Repo(api, repo_id, "dataset", revision, advance)
    there = until_through(doing, repo.look, advance)
    if there is None:
        branch = f" with a revision {revision!r}" if revision else ""
        raise InputError(
            f"There is no dataset {repo_id} on the Hub{branch}, or no right to see it.",
            advice="Check the name; a private dataset needs `hf auth login` or HF_TOKEN.",
        )

    def read(path: str) -> bytes | None:
        return until_through(doing, lambda: repo.read(path, there), advance)

    done = Verified(repo_id, there.commit)
    layouts = [Layout(), *(Layout(name) for name in configs_in(there.files))]
    found = {layout: content for layout in layouts if is_manifest(content := read(layout.manifest))}
    if not found:
        raise InputError(f"{repo_id} holds nothing that was pushed by hub-instructpt.", advice="Check the name.")
    rows: dict[str, int] = {}
    for layout, content in found.items():
        try:
            book = _opened(content or b"", layout)
        except ValidationError as error:
            done.findings.append(f"{layout.manifest}: damaged or of another version ({error.error_count()} faults)")
            continue
        rows |= book.configs
        named = {claim.there for claim in book.claims}
        strays = [path for path in sorted(there.files) if path not in named]
        strays = [path for path in strays if any(fnmatch(path, pattern) for pattern in layout.patterns)]
        done.findings += [f"{path}: the manifest does not name it, but it would be read" for path in strays]
        done.findings += [f"{layout.manifest}: {what}" for what in book.faults]
        for claim in book.claims:
            done.findings += [f"{claim.there}: {what}" for what in _of_file(api, repo, there, claim, advance)]
            done.files, done.num_bytes = done.files + 1, done.num_bytes + claim.num_bytes
            done.rows += claim.num_rows or 0
            tick(claim.num_bytes)
    done.findings += _of_card(read(CARD), rows)
    return done


def _opened(content: bytes, layout: Layout) -> _Book:
    """A manifest of whatever kind.

    Raises:
        ValidationError: it can not be believed.
    """
    text = content.decode("utf-8", "replace")
    kind = json.loads(text).get("kind")
    if kind == "collection":
        collection = Collection.model_validate_json(text)
        names = {name: each.num_records for each in collection.datasets for name in (each.name, *each.also_called)}
        return _Book([_claim(each, layout) for each in collection.files], names)
    if kind == "mixture":
        mixture = Mixture.model_validate_json(text)
        packed = {"packed": sum(each.num_rows for each in mixture.packed)} if mixture.packed else {}
        return _Book([_claim(each, layout) for each in mixture.files], {cards.CONFIG: mixture.num_texts, **packed})
    run = Manifest.model_validate_json(text)
    claims = []
    for shard in run.shards:
        check = partial(faults_in_shard, manifest=run, shard=shard)
        claims.append(replace(_claim(shard, layout), check=check))
    configs = {layout.config or cards.CONFIG: sum(shard.num_rows for shard in run.shards)}
    return _Book(claims, configs, list(faults_between_shards(run)))


def _claim(file: Named, layout: Layout) -> Claim:
    return Claim(file.path, layout.path(file.path), file.num_bytes, file.sha256, file.num_rows)


def _of_file(api: HfApi, repo: Repo, there: There, claim: Claim, advance: Advance) -> Iterator[str]:
    digest = there.files.get(claim.there)
    if digest is None:
        yield "it is missing"
        return
    if len(digest) == 64 and digest != claim.sha256:
        yield "it is another file than the one that the manifest names"
        return
    with tempfile.TemporaryDirectory(prefix="hub-instructpt-") as name:
        folder = Path(name)

        def fetched() -> str:
            return api.hf_hub_download(
                repo.repo_id, claim.there, repo_type=repo.repo_type, revision=there.commit, local_dir=folder / "there"
            )

        here = folder / claim.path
        here.parent.mkdir(parents=True)
        Path(until_through(f"download {claim.there} of {repo.repo_id}", fetched, advance)).replace(here)
        advance.steps += 1
        yield from claim.check(folder) if claim.check else _faults_of(here, claim)


def _faults_of(path: Path, claim: Claim) -> Iterator[str]:
    if (size := path.stat().st_size) != claim.num_bytes:
        yield f"it has {size:,} bytes instead of {claim.num_bytes:,}"
    elif sha256(path) != claim.sha256:
        yield "it was altered since it was sealed"
    elif claim.num_rows is not None and (rows := _rows_of(path)) != claim.num_rows:
        said = "it can not be read" if rows is None else f"it has {rows:,} rows"
        yield f"{said}, the manifest says {claim.num_rows:,} rows"


def _rows_of(path: Path) -> int | None:
    """Rows of a file; None where it is broken."""
    if path.suffix != ".parquet":
        with path.open("rb") as lines:
            return sum(1 for _ in lines)
    try:
        with pq.ParquetFile(path) as file:
            return sum(int(batch.num_rows) for batch in file.iter_batches(1_000))
    except (pa.ArrowException, OSError):
        return None


def _of_card(card: bytes | None, rows: dict[str, int]) -> Iterator[str]:
    """Whether `datasets` would find and believe every config."""
    if card is None:
        yield f"{CARD} is missing"
        return
    try:
        metadata, _ = cards.split_card(cards.decode_card(card))
    except CardError as error:
        yield f"{CARD}: {error.message}"
        return
    configs = {each.get("config_name") for each in _dicts(metadata.get("configs"))}
    infos = {each.get("config_name", cards.CONFIG): each for each in _dicts(metadata.get("dataset_info"))}
    for name, number in rows.items():
        if name not in configs:
            yield f"{CARD} does not declare the config {name}"
        splits = _dicts(infos.get(name, {}).get("splits"))
        said = sum(split["num_examples"] for split in splits if isinstance(split.get("num_examples"), int))
        if splits and said != number:
            yield f"{CARD} says that {name} has {said:,} rows, the manifest {number:,}: load_dataset would refuse it"


def _dicts(value: Any) -> Sequence[dict[str, Any]]:
    return [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, dict)]
