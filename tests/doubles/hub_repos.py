"""Repos of the Hub's double as wholes: create, describe, list, delete; their branches, tags and history.

What it does: the calls under /api/repos and /api/{datasets,models} that neither write files (hub_commits, hub_lfs) nor
read them (hub_files).

What it keeps true: a new repo has one commit with its .gitattributes, as on the Hub, so it has a sha from the start;
creating it again is 409 with its address; what is said of a repo is read from its files, the card's metadata included.

What it does not know: discussions but for open pull requests, likes, gating, download counts (0), super-squash.
"""

from __future__ import annotations

import json
import re
from typing import Any

from aiohttp import web

from tests.doubles.hub_access import KINDS, STORE, USER, caller, kind_of, readable, repo_url, writable, writer
from tests.doubles.hub_cards import card_data
from tests.doubles.hub_store import Commit, Entry, Refusal, Repo, Store, lfs_pointer

NAME = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9]([\w.-]{0,94}[\w])?")
API = "/api/{kind:datasets|models}/{ns}/{name}"


def add_routes(app: web.Application) -> None:
    app.router.add_routes([
        web.post("/api/repos/create", create),
        web.delete("/api/repos/delete", delete),
        web.get("/api/{kind:datasets|models}", list_repos),
        web.get(API, info),
        web.get(API + "/revision/{rev}", info),
        web.get(API + "/refs", refs),
        web.get(API + "/commits/{rev}", commits),
        web.get(API + "/discussions", discussions),
        web.put(API + "/settings", settings),
        web.post(API + "/branch/{rev}", create_branch),
        web.delete(API + "/branch/{rev}", delete_branch),
        web.post(API + "/tag/{rev}", create_tag),
    ])  # fmt: skip


# -- repos


async def create(request: web.Request) -> web.Response:
    body = await request.json()
    namespace, kind = body.get("organization") or USER, body.get("type") or "model"
    if not NAME.fullmatch(str(body.get("name"))) or kind not in KINDS.values():
        raise Refusal(400, f"Invalid repo: {kind} {body.get('name')!r}")
    who = writer(request, namespace)
    store, name = request.app[STORE], f"{namespace}/{body['name']}"
    if known := store.find(kind, name):
        raise Refusal(409, f"You already created this {kind} repo", url=repo_url(request, known))
    # huggingface_hub 2 says visibility, versions before 1 said private.
    private = body.get("visibility") == "private" or bool(body.get("private"))
    repo = store.create(kind, name, private=private, author=who.user)
    return web.json_response({"url": repo_url(request, repo), "name": repo.name})


async def delete(request: web.Request) -> web.Response:
    body = await request.json()
    namespace = body.get("organization") or USER
    writer(request, namespace)
    store, key = request.app[STORE], f"{body.get('type') or 'model'}/{namespace}/{body.get('name')}"
    if store.repos.pop(key, None) is None:
        raise Refusal(404, "Repository not found", "RepoNotFound")
    store.save()
    return web.json_response({})


async def settings(request: web.Request) -> web.Response:
    repo, _ = writable(request)
    body = await request.json()
    if {"private", "visibility"} & set(body):
        repo.private = body.get("visibility") == "private" or bool(body.get("private"))
    request.app[STORE].save()
    return web.json_response(body)


async def list_repos(request: web.Request) -> web.Response:
    """The public repos and the caller's own; of the Hub's filters only author and search."""
    who, store = caller(request), request.app[STORE]
    author, search = request.query.get("author"), request.query.get("search", "").lower()
    found = [
        describe(store, repo, store.resolve(repo, "main"))
        for repo in store.repos.values()
        if repo.kind == kind_of(request)
        and (not repo.private or (who and who.owns(repo.namespace)))
        and author in (None, repo.namespace)
        and search in repo.name.lower()
    ]
    return web.json_response(found)


async def info(request: web.Request) -> web.Response:
    repo, store = readable(request), request.app[STORE]
    found = store.resolve(repo, request.match_info.get("rev", "main"))
    blobs = request.query.get("blobs", "").lower() in ("1", "true")
    return web.json_response(describe(store, repo, found, blobs=blobs))


def describe(store: Store, repo: Repo, found: Commit, *, blobs: bool = False) -> dict[str, Any]:
    readme = found.files.get("README.md")
    data = card_data(store.read(readme).decode(errors="replace")) if readme else {}
    return {
        "_id": found.oid[:24],
        "id": repo.name,
        **({"modelId": repo.name} if repo.kind == "model" else {}),
        "author": repo.namespace,
        "sha": found.oid,
        "private": repo.private,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "createdAt": repo.created,
        "lastModified": found.date,
        "tags": tags_of(data),
        "siblings": [sibling(path, entry, blobs) for path, entry in found.files.items()],
        # YAML has dates, JSON has none; the Hub sends them as text.
        "cardData": json.loads(json.dumps(data, default=str)) or None,
    }


def sibling(path: str, entry: Entry, blobs: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"rfilename": path}
    if blobs:
        row |= {"size": entry.size, "blobId": entry.oid}
        if entry.lfs:
            pointer = len(lfs_pointer(entry.sha256, entry.size))
            row["lfs"] = {"sha256": entry.sha256, "size": entry.size, "pointerSize": pointer}
    return row


def tags_of(data: dict[str, Any]) -> list[str]:
    """The tags the Hub derives from a card: most keys get their name in front, free tags stay as they are."""
    tags: list[str] = []
    for key in ("task_categories", "language", "license", "size_categories", "tags"):
        values = data.get(key) or []
        values = values if isinstance(values, list) else [values]
        tags += [str(value) if key == "tags" else f"{key}:{value}" for value in values]
    return [*tags, "region:us"]


# -- refs


async def refs(request: web.Request) -> web.Response:
    repo = readable(request)
    heads = {name: oid for name, oid in repo.refs.items() if not name.startswith("refs/")}
    return web.json_response({
        "branches": [{"name": name, "ref": f"refs/heads/{name}", "targetCommit": oid} for name, oid in heads.items()],
        "converts": [],
        "tags": [{"name": name, "ref": f"refs/tags/{name}", "targetCommit": oid} for name, oid in repo.tags.items()],
        "pullRequests": [
            {"name": name.removeprefix("refs/"), "ref": name, "targetCommit": oid}
            for name, oid in repo.refs.items()
            if name.startswith("refs/pr/")
        ],
    })  # fmt: skip


async def commits(request: web.Request) -> web.Response:
    repo, store = readable(request), request.app[STORE]
    head = store.resolve(repo, request.match_info["rev"])
    return web.json_response([
        {"id": one.oid, "title": one.title, "message": one.description, "date": one.date,
         "authors": [{"user": one.author}]}
        for one in store.history(head.oid)
    ])  # fmt: skip


async def discussions(request: web.Request) -> web.Response:
    """The pull requests, newest first, a page of 10; all of them are open."""
    repo, store = readable(request), request.app[STORE]
    start = 10 * int(request.query.get("p", 0))
    numbers = list(range(repo.pulls, 0, -1))
    rows = [
        {"num": number, "title": first.title, "author": {"name": first.author}, "createdAt": first.date,
         "status": "open", "isPullRequest": True, "repo": {"name": repo.name, "type": repo.kind}}
        for number in numbers[start : start + 10]
        for first in [store.load(repo.refs[f"refs/pr/{number}"])]
    ]  # fmt: skip
    return web.json_response({"discussions": rows, "count": len(numbers), "start": start})


async def create_branch(request: web.Request) -> web.Response:
    repo, _ = writable(request)
    branch = request.match_info["rev"]
    if branch in repo.refs:
        raise Refusal(409, f"Reference already exists: refs/heads/{branch}")
    start = (await request.json()).get("startingPoint") if request.can_read_body else None
    repo.refs[branch] = request.app[STORE].resolve(repo, start or "main").oid
    request.app[STORE].save()
    return web.json_response({}, status=201)


async def delete_branch(request: web.Request) -> web.Response:
    repo, _ = writable(request)
    branch = request.app[STORE].branch(repo, request.match_info["rev"])
    if branch == "main":
        raise Refusal(403, "Cannot delete the main branch")
    del repo.refs[branch]
    request.app[STORE].save()
    return web.json_response({})


async def create_tag(request: web.Request) -> web.Response:
    """Here {rev} is what gets the tag, and the body names it."""
    repo, _ = writable(request)
    tag = (await request.json())["tag"]
    if tag in repo.tags:
        raise Refusal(409, f"Tag already exists: {tag}")
    repo.tags[tag] = request.app[STORE].resolve(repo, request.match_info["rev"]).oid
    request.app[STORE].save()
    return web.json_response({}, status=201)
