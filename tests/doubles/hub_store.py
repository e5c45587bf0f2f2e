"""The shelves behind the Hub's double: repos, branches, commits and the bytes of their files.

What it does: keeps every file's content once, under its sha256, and every commit as the full list of its files; a
branch is a name for a commit. It knows nothing of HTTP; `Refusal` carries what a route needs to say no.

What it keeps true: blob and tree ids are Git's own (an LFS file's blob is its pointer), so a client that computes them
itself agrees; commit ids are hashes made in Git's manner. A commit is all or nothing. Contents and commits are written
before the state that names them, and the state is replaced by a rename, so a killed double restarts at its last whole
commit.

What it does not know: merges, pull requests beyond their branch, and how the Hub stores anything.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def words(text: str) -> list[str]:
    return text.split()


GITATTRIBUTES_SUFFIXES = words(
    "7z arrow bin bz2 ckpt ftz gz h5 joblib lz4 mds mlmodel model msgpack npy npz onnx ot parquet pb pickle pkl "
    "pt pth rar safetensors tar tflite tgz wasm xz zip zst pcm sam raw aac flac mp3 ogg wav bmp gif png tiff jpg "
    "jpeg webp mp4 webm"
)
GITATTRIBUTES = "".join(f"*.{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in GITATTRIBUTES_SUFFIXES)
REGULAR_LIMIT = 10 * 1024 * 1024  # the Hub takes larger files only through LFS


class Refusal(Exception):
    """A request the Hub would refuse: the status, the words, and its X-Error-Code where it has one."""

    def __init__(self, status: int, message: str, code: str = "", **extra: Any) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.extra = status, message, code, extra


@dataclass(frozen=True)
class Entry:
    """One file of one commit; `commit` is the last one that changed it."""

    oid: str
    size: int
    sha256: str
    lfs: bool
    commit: str = ""

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid


@dataclass(frozen=True)
class Commit:
    """A snapshot of a repo: its files by path, and who made it after which one."""

    oid: str
    parent: str | None
    title: str
    description: str
    author: str
    date: str
    files: Mapping[str, Entry]


@dataclass
class Repo:
    """What changes about a repo: its refs, its visibility, the LFS objects it may name, its count of pull requests."""

    kind: str
    name: str
    private: bool
    created: str
    refs: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    lfs: list[str] = field(default_factory=list)
    pulls: int = 0

    @property
    def namespace(self) -> str:
        return self.name.partition("/")[0]


@dataclass(frozen=True)
class Change:
    """One line of a commit: a file put at `path`, or with `entry` None something deleted there."""

    path: str
    entry: Entry | None
    folder: bool = False


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def git_id(kind: str, body: bytes) -> str:
    return hashlib.sha1(f"{kind} {len(body)}\0".encode() + body).hexdigest()


def lfs_pointer(sha256: str, size: int) -> bytes:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def is_lfs(path: str, size: int) -> bool:
    """Whether the Hub would take this file through LFS; an empty file never (its client says so, S3 refuses them)."""
    return size > 0 and (size > REGULAR_LIMIT or path.rpartition(".")[2].lower() in GITATTRIBUTES_SUFFIXES)


def folders_of(paths: Iterable[str]) -> set[str]:
    """Every folder that these paths lie in, the root ('') aside."""
    return {path[:at] for path in paths for at, letter in enumerate(path) if letter == "/"}


def tree_ids(files: Mapping[str, Entry]) -> dict[str, str]:
    """Git's id of every folder by its path; '' is the root."""
    rows: dict[str, list[tuple[str, bytes]]] = {folder: [] for folder in folders_of(files) | {""}}
    for path, entry in files.items():
        folder, _, name = path.rpartition("/")
        rows[folder].append((name, b"100644 " + name.encode() + b"\0" + bytes.fromhex(entry.oid)))
    ids: dict[str, str] = {}
    for folder in sorted(rows, key=lambda path: (path.count("/") + bool(path), path), reverse=True):
        # Git sorts a folder as if its name ended in a slash.
        ids[folder] = git_id("tree", b"".join(row for _, row in sorted(rows[folder])))
        if folder:
            parent, _, name = folder.rpartition("/")
            rows[parent].append((name + "/", b"40000 " + name.encode() + b"\0" + bytes.fromhex(ids[folder])))
    return ids


def check_path(path: str) -> None:
    parts = path.split("/")
    if not path or any(part in ("", ".", "..", ".git") for part in parts):
        raise Refusal(400, f"Invalid path in commit: {path!r}")


class Store:
    """Everything the double remembers, in one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.repos: dict[str, Repo] = {}
        self.collections: dict[str, dict[str, Any]] = {}
        self.buckets: dict[str, dict[str, Any]] = {}
        self._commits: dict[str, Commit] = {}
        for folder in ("objects", "commits", "incoming"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        if (root / "state.json").exists():
            state = json.loads((root / "state.json").read_text())
            self.repos = {key: Repo(**repo) for key, repo in state["repos"].items()}
            self.collections, self.buckets = state["collections"], state["buckets"]

    def save(self) -> None:
        repos = {key: asdict(repo) for key, repo in self.repos.items()}
        state = {"repos": repos, "collections": self.collections, "buckets": self.buckets}
        self._write(self.root / "state.json", json.dumps(state).encode())

    def clear(self) -> None:
        self.repos, self.collections, self.buckets = {}, {}, {}
        self.save()

    def _write(self, path: Path, body: bytes) -> None:
        temporary = self.incoming()
        temporary.write_bytes(body)
        os.replace(temporary, path)

    # -- contents

    def incoming(self) -> Path:
        """A fresh path for bytes on their way in."""
        return self.root / "incoming" / secrets.token_hex(8)

    def object(self, sha256: str) -> Path:
        return self.root / "objects" / sha256

    def put(self, body: bytes) -> str:
        sha256 = hashlib.sha256(body).hexdigest()
        if not self.object(sha256).exists():
            self._write(self.object(sha256), body)
        return sha256

    def read(self, entry: Entry, start: int = 0, length: int = -1) -> bytes:
        with self.object(entry.sha256).open("rb") as file:
            file.seek(start)
            return file.read(length)

    def regular(self, body: bytes) -> Entry:
        return Entry(git_id("blob", body), len(body), self.put(body), lfs=False)

    def large(self, repo: Repo, sha256: str, size: int | None) -> Entry:
        """An LFS file whose bytes must have come in before; size None means whatever is stored (a copy has none)."""
        if sha256 not in repo.lfs or not self.object(sha256).exists():
            raise Refusal(400, f"LFS object {sha256} was not uploaded to {repo.name}")
        stored = self.object(sha256).stat().st_size
        if size is not None and size != stored:
            raise Refusal(400, f"LFS object {sha256} has {stored} bytes, the commit says {size}")
        return Entry(git_id("blob", lfs_pointer(sha256, stored)), stored, sha256, lfs=True)

    # -- repos and revisions

    def create(self, kind: str, name: str, *, private: bool, author: str) -> Repo:
        repo = self.repos[f"{kind}/{name}"] = Repo(kind, name, private, now())
        attributes = Change(".gitattributes", self.regular(GITATTRIBUTES.encode()))
        self.commit(repo, "main", [attributes], "initial commit", author)
        return repo

    def find(self, kind: str, name: str) -> Repo | None:
        return self.repos.get(f"{kind}/{name}")

    def load(self, oid: str) -> Commit:
        if oid not in self._commits:
            raw = json.loads((self.root / "commits" / f"{oid}.json").read_text())
            raw["files"] = {path: Entry(**entry) for path, entry in raw["files"].items()}
            self._commits[oid] = Commit(**raw)
        return self._commits[oid]

    def history(self, oid: str | None) -> Iterable[Commit]:
        while oid is not None:
            commit = self.load(oid)
            yield commit
            oid = commit.parent

    def branch(self, repo: Repo, revision: str) -> str:
        """The ref that a commit to this revision would move."""
        if revision not in repo.refs:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return revision

    def resolve(self, repo: Repo, revision: str) -> Commit:
        """The commit that a branch, a tag, a pull request's ref or a (shortened) commit id stands for."""
        oid = repo.refs.get(revision.removeprefix("refs/heads/")) or repo.tags.get(revision)
        if oid is None and re.fullmatch(r"[0-9a-f]{7,40}", revision):
            known = {commit.oid for head in repo.refs.values() for commit in self.history(head)}
            oid = next((oid for oid in known if oid.startswith(revision)), None)
        if oid is None:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.load(oid)

    # -- commits

    def commit(
        self, repo: Repo, ref: str, changes: Iterable[Change], title: str, author: str, *, description: str = "",
        base: str | None = None,
    ) -> Commit:  # fmt: skip
        """Put a new commit on `ref`, after `base` (its own head unless told, as for a new pull request)."""
        parent = base or repo.refs.get(ref)
        files = dict(self.load(parent).files) if parent else {}
        fresh = set[str]()
        for change in changes:
            check_path(change.path)
            fresh.difference_update(_apply(files, change))
            if change.entry is not None:
                fresh.add(change.path)
        _check_shape(files)
        date = now()
        lines = [f"tree {tree_ids(files)['']}", *([f"parent {parent}"] if parent else [])]
        lines += [f"{role} {author} <{author}@double> {date}" for role in ("author", "committer")]
        oid = git_id("commit", "\n".join([*lines, "", title, description, ""]).encode())
        stamped = {path: _stamp(entry, oid) if path in fresh else entry for path, entry in sorted(files.items())}
        commit = Commit(oid, parent, title, description, author, date, stamped)
        self._write(self.root / "commits" / f"{oid}.json", json.dumps(asdict(commit)).encode())
        self._commits[oid] = commit
        repo.refs[ref] = oid
        self.save()
        return commit


def _apply(files: dict[str, Entry], change: Change) -> list[str]:
    """Make one change to a commit's files; returns the paths that went away."""
    if change.entry is not None:
        files[change.path] = change.entry
        return []
    prefix = change.path.rstrip("/") + "/"
    gone = [path for path in files if path.startswith(prefix)] if change.folder else [change.path]
    if not gone or gone[0] not in files:
        raise Refusal(404, f"{change.path} does not exist on this revision", "EntryNotFound")
    for path in gone:
        del files[path]
    return gone


def _check_shape(files: Mapping[str, Entry]) -> None:
    if clash := folders_of(files) & set(files):
        raise Refusal(400, f"{sorted(clash)[0]} would be both a file and a folder")


def _stamp(entry: Entry, oid: str) -> Entry:
    return Entry(entry.oid, entry.size, entry.sha256, entry.lfs, oid)
