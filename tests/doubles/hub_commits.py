"""Writing to a repo of the Hub's double: check a card, ask how to upload, commit.

What it does: validate-yaml, preupload and commit, and for tests a commit by someone else.

What it keeps true: a commit is checked whole before any of it counts: its parent is the branch's head, its LFS objects
are there, its card is one the Hub would take. A refused commit changes nothing. A proposal (?create_pr=1) goes to a ref
of its own.

What it does not know: server-side copies, .gitignore, and the Hub's .gitattributes beyond file endings and size.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from functools import partial
from typing import Any

from aiohttp import web

from tests.doubles.hub_access import STORE, base_url, repo_url, writable
from tests.doubles.hub_cards import check_card
from tests.doubles.hub_store import (
    REGULAR_LIMIT,
    Change,
    Entry,
    Refusal,
    Repo,
    Store,
    git_id,
    is_lfs,
    lfs_pointer,
)
from tests.doubles.hub_xet import holds

API = "/api/{kind:datasets|models}/{ns}/{name}"


def add_routes(app: web.Application) -> None:
    app.router.add_routes([
        web.post("/api/validate-yaml", validate_yaml),
        web.post(API + "/preupload/{rev}", preupload),
        web.post(API + "/commit/{rev}", commit),
    ])  # fmt: skip


async def validate_yaml(request: web.Request) -> web.Response:
    """Open to everyone: DatasetCard.validate sends no token."""
    body = await request.json()
    errors, warnings = check_card(body["content"], body.get("repoType") or "model")
    reply: dict[str, Any] = {"errors": [{"message": text} for text in errors]}
    reply["warnings"] = [{"message": text} for text in warnings]
    return web.json_response(reply, status=400 if errors else 200)


async def preupload(request: web.Request) -> web.Response:
    repo, _ = writable(request)
    here = request.app[STORE].resolve(repo, request.match_info["rev"]).files
    rows = []
    for file in (await request.json())["files"]:
        row = {"path": file["path"], "shouldIgnore": False}
        row["uploadMode"] = "lfs" if is_lfs(file["path"], file["size"]) else "regular"
        if known := here.get(file["path"]):
            row["oid"] = known.etag
        rows.append(row)
    return web.json_response({"files": rows})


async def commit(request: web.Request) -> web.Response:
    repo, who = writable(request)
    store = request.app[STORE]
    lines = [json.loads(line) for line in (await request.read()).splitlines() if line.strip()]
    header = next((line["value"] for line in lines if line["key"] == "header"), None)
    if not header or not header.get("summary"):
        raise Refusal(400, "A commit needs a header with a summary")
    by_xet = partial(holds, request.app)
    changes = [change_of(store, repo, line["key"], line["value"], by_xet) for line in lines if line["key"] != "header"]
    check_readme(store, repo, changes)
    proposal, parent = request.query.get("create_pr") == "1", header.get("parentCommit")
    head = store.resolve(repo, request.match_info["rev"])
    if proposal:
        ref, base = f"refs/pr/{repo.pulls + 1}", store.resolve(repo, parent).oid if parent else head.oid
    else:
        ref, base = store.branch(repo, request.match_info["rev"]), head.oid
        if parent and not head.oid.startswith(parent):
            raise Refusal(412, "A commit has happened since. Please refresh and try again.")
    made = store.commit(
        repo, ref, changes, header["summary"], who.user, description=header.get("description") or "", base=base
    )
    reply = {"success": True, "commitOid": made.oid, "commitUrl": f"{repo_url(request, repo)}/commit/{made.oid}"}
    if proposal:
        repo.pulls += 1
        store.save()
        reply["pullRequestUrl"] = f"{repo_url(request, repo)}/discussions/{repo.pulls}"
    return web.json_response(reply)


def change_of(store: Store, repo: Repo, key: str, value: dict[str, Any], by_xet: Callable[[str], bool]) -> Change:
    """One ndjson line of a commit; `by_xet` tells of a sha256 whether its bytes came by Xet."""
    if key == "file":
        return Change(value["path"], store.regular(regular_body(value)))
    if key == "lfsFile":
        if value.get("algo") != "sha256":
            raise Refusal(400, f"LFS objects are named by sha256, not {value.get('algo')}")
        if by_xet(value["oid"]):
            pointer = git_id("blob", lfs_pointer(value["oid"], value["size"]))
            return Change(value["path"], Entry(pointer, value["size"], value["oid"], lfs=True))
        return Change(value["path"], store.large(repo, value["oid"], value.get("size")))
    if key in ("deletedFile", "deletedFolder"):
        return Change(value["path"].rstrip("/"), None, folder=key == "deletedFolder")
    raise Refusal(400, f"The double knows no commit operation {key!r}")


def regular_body(value: dict[str, Any]) -> bytes:
    text = value.get("content", "")
    try:
        body = base64.b64decode(text, validate=True) if value.get("encoding") == "base64" else text.encode()
    except binascii.Error as error:
        raise Refusal(400, f"{value['path']} is not base64: {error}") from None
    if len(body) > REGULAR_LIMIT:
        raise Refusal(400, f"{value['path']} is larger than 10 MiB and must be uploaded with LFS")
    return body


def check_readme(store: Store, repo: Repo, changes: list[Change]) -> None:
    for change in changes:
        if change.path == "README.md" and change.entry is not None:
            errors, _ = check_card(store.read(change.entry).decode(errors="replace"), repo.kind)
            if errors:
                raise Refusal(400, "Invalid metadata in README.md: " + "; ".join(errors))


async def commit_as_someone(request: web.Request) -> web.Response:
    """POST /_double/commit: a commit behind the caller's back; makes the repo where there is none.

    {"repo": "lab/x", "files": {path: text or {"base64": ...} or null to delete}, "type": "dataset", "revision": "main",
    "message": ..., "private": false}. The rules for cards do not bind it, so that a test can seed what it likes.
    """
    body = await request.json()
    store, kind, author = request.app[STORE], body.get("type", "dataset"), body.get("author", "someone")
    repo = store.find(kind, body["repo"])
    if repo is None:
        repo = store.create(kind, body["repo"], private=bool(body.get("private")), author=author)
    changes = [seeded(store, repo, path, given) for path, given in body["files"].items()]
    made = store.commit(repo, body.get("revision", "main"), changes, body.get("message", "Someone's commit"), author)
    return web.json_response({"commitOid": made.oid, "url": f"{base_url(request)}/{kind}s/{repo.name}"})


def seeded(store: Store, repo: Repo, path: str, given: str | dict[str, str] | None) -> Change:
    if given is None:
        return Change(path, None)
    body = base64.b64decode(given["base64"]) if isinstance(given, dict) else given.encode()
    if not is_lfs(path, len(body)):
        return Change(path, store.regular(body))
    sha256 = store.put(body)
    repo.lfs.append(sha256)
    return Change(path, store.large(repo, sha256, len(body)))
