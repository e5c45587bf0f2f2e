"""A repo, downloaded and checked against what its manifest claims.

Keeps true: nothing is changed; every byte that a manifest names is fetched and hashed here, one file at a time, so that
a corpus needs no more room than its largest file; what is checked is one commit.
Does not know what makes a pair a good one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True, slots=True)
class Claim:
    """What a manifest says of a file of the repo. `num_rows` is None where it holds none."""

    path: str
    num_bytes: int
    sha256: str
    num_rows: int | None


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
            claims, configs = _claims(content or b"", layout)
        except ValidationError as error:
            done.findings.append(f"{layout.manifest} is damaged or of another version ({error.error_count()} faults)")
            continue
        rows |= configs
        named = {claim.path for claim in claims}
        for path in sorted(there.files):
            if path not in named and any(fnmatch(path, pattern) for pattern in layout.patterns):
                done.findings.append(f"{path}: the manifest does not name it, but it would be read")
        for claim in claims:
            done.findings += _of_file(api, repo, there, claim, advance)
            done.files, done.num_bytes = done.files + 1, done.num_bytes + claim.num_bytes
            done.rows += claim.num_rows or 0
            tick(claim.num_bytes)
    done.findings += _of_card(read(CARD), rows)
    return done


def _claims(content: bytes, layout: Layout) -> tuple[list[Claim], dict[str, int]]:
    """What a manifest says of each file, and of the rows of each config."""
    text = content.decode("utf-8", "replace")
    if '"datasets"' in text and '"collection"' in text:
        collection = Collection.model_validate_json(text)
        claims = [Claim(each.path, each.num_bytes, each.sha256, each.num_rows) for each in collection.files]
        names = {name: each.num_records for each in collection.datasets for name in (each.name, *each.also_called)}
        return claims, names
    if '"mixture"' in text:
        mixture = Mixture.model_validate_json(text)
        claims = [Claim(layout.path(each.path), each.num_bytes, each.sha256, each.num_rows) for each in mixture.files]
        packed = sum(each.num_rows for each in mixture.packed)
        return claims, {cards.CONFIG: mixture.num_texts} | ({"packed": packed} if mixture.packed else {})
    run = Manifest.model_validate_json(text)
    claims = [Claim(layout.path(each.path), each.num_bytes, each.sha256, each.num_rows) for each in run.shards]
    return claims, {layout.config or cards.CONFIG: sum(each.num_rows for each in run.shards)}


def _of_file(api: HfApi, repo: Repo, there: There, claim: Claim, advance: Advance) -> Iterator[str]:
    digest = there.files.get(claim.path)
    if digest is None:
        yield f"{claim.path} is missing"
        return
    if len(digest) == 64 and digest != claim.sha256:
        yield f"{claim.path} is not the file that the manifest names (another sha256)"
        return
    with tempfile.TemporaryDirectory(prefix="hub-instructpt-") as folder:

        def fetched() -> str:
            return api.hf_hub_download(
                repo.repo_id, claim.path, repo_type=repo.repo_type, revision=there.commit, local_dir=folder
            )

        path = Path(until_through(f"download {claim.path} of {repo.repo_id}", fetched, advance))
        advance.steps += 1
        yield from (f"{claim.path} {fault}" for fault in faults_of(path, claim))


def faults_of(path: Path, claim: Claim) -> Iterator[str]:
    """What is wrong with a file that is here."""
    if (size := path.stat().st_size) != claim.num_bytes:
        yield f"has {size:,} bytes, the manifest says {claim.num_bytes:,}"
        return
    if sha256(path) != claim.sha256:
        yield "is not as it was sealed (another sha256)"
        return
    rows = _rows_of(path)
    if claim.num_rows is not None and rows != claim.num_rows:
        said = "can not be read" if rows is None else f"has {rows:,} rows"
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
