"""Reading files from the Hub's double: tree, paths-info, resolve.

What it does: lists a revision's files page by page, describes single paths, and sends contents, whole or in part.

What it keeps true: every answer names the commit it comes from; an LFS file's ETag is its sha256, a regular one's its
blob id; a Range gets 206 with its Content-Range, or 416.

What it does not know: redirects to a CDN (contents come straight from here), Xet, resolve-cache, ETag conditions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from tests.doubles.hub_access import STORE, base_url, readable
from tests.doubles.hub_store import Commit, Entry, Refusal, Store, folders_of, lfs_pointer, tree_ids
from tests.doubles.hub_xet import xet_headers

PAGE_SIZE = web.AppKey("page_size", int)
API = "/api/{kind:datasets|models}/{ns}/{name}"


def add_routes(app: web.Application) -> None:
    app.router.add_routes([
        web.get(API + "/tree/{rev}", tree),
        web.get(API + "/tree/{rev}/{path:.*}", tree),
        web.post(API + "/paths-info/{rev}", paths_info),
        web.get("/{kind:datasets}/{ns}/{name}/resolve/{rev}/{path:.+}", resolve),
        web.get("/{ns}/{name}/resolve/{rev}/{path:.+}", resolve),
    ])  # fmt: skip


def is_true(text: str | None) -> bool:
    return (text or "").lower() in ("1", "true")


def no_entry(path: str) -> Refusal:
    return Refusal(404, f"{path} does not exist on this revision", "EntryNotFound")


# -- listings


def describe(store: Store, commit: Commit, path: str, *, expand: bool, folders: dict[str, str]) -> dict[str, Any]:
    """One row of a listing; `folders` are the ids of the commit's folders."""
    entry = commit.files.get(path)
    if entry is None:
        row = {"type": "directory", "oid": folders[path], "size": 0, "path": path}
        within = [other for name, other in commit.files.items() if name.startswith(path + "/")]
    else:
        row = {"type": "file", "oid": entry.oid, "size": entry.size, "path": path}
        if entry.lfs:
            pointer = len(lfs_pointer(entry.sha256, entry.size))
            row["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": pointer}
        within = [entry]
    if expand:
        last = max((store.load(other.commit) for other in within), key=lambda commit: commit.date)
        row["lastCommit"] = {"id": last.oid, "title": last.title, "date": last.date}
    return row


def listed(commit: Commit, folder: str, *, recursive: bool) -> Iterator[str]:
    prefix = f"{folder}/" if folder else ""
    for path in sorted({*commit.files, *folders_of(commit.files)}):
        if path.startswith(prefix) and (recursive or "/" not in path[len(prefix) :]):
            yield path


async def tree(request: web.Request) -> web.Response:
    repo, store = readable(request), request.app[STORE]
    commit = store.resolve(repo, request.match_info["rev"])
    folder, folders = request.match_info.get("path", "").strip("/"), tree_ids(commit.files)
    if folder not in folders:
        raise no_entry(folder)
    rows = list(listed(commit, folder, recursive=is_true(request.query.get("recursive"))))
    size, start = int(request.query.get("limit", request.app[PAGE_SIZE])), int(request.query.get("cursor", 0))
    expand = is_true(request.query.get("expand"))
    page = [describe(store, commit, path, expand=expand, folders=folders) for path in rows[start : start + size]]
    headers = {}
    if start + size < len(rows):
        following = request.rel_url.update_query(cursor=str(start + size))
        headers["Link"] = f'<{base_url(request)}{following}>; rel="next"'
    return web.json_response(page, headers=headers)


async def paths_info(request: web.Request) -> web.Response:
    """A form or JSON body; paths that are not there are left out."""
    repo, store = readable(request), request.app[STORE]
    commit = store.resolve(repo, request.match_info["rev"])
    if request.content_type == "application/json":
        body = await request.json()
        paths, expand = body["paths"], bool(body.get("expand"))
    else:
        form = await request.post()
        paths, expand = [str(path) for path in form.getall("paths", [])], is_true(str(form.get("expand")))
    folders = tree_ids(commit.files)
    known = [path for path in paths if path in commit.files or (path and path in folders)]
    return web.json_response([describe(store, commit, path, expand=expand, folders=folders) for path in known])


# -- contents


async def resolve(request: web.Request) -> web.Response:
    repo, store = readable(request), request.app[STORE]
    commit = store.resolve(repo, request.match_info["rev"])
    path = request.match_info["path"]
    entry = commit.files.get(path)
    if entry is None:
        refusal = no_entry(path)
        # The client remembers "not there" per commit, so the Hub names the commit here too.
        return web.json_response(
            {"error": refusal.message}, status=404,
            headers={"X-Error-Code": refusal.code, "X-Error-Message": refusal.message, "X-Repo-Commit": commit.oid},
        )  # fmt: skip
    headers = {"X-Repo-Commit": commit.oid, "ETag": f'"{entry.etag}"', "Accept-Ranges": "bytes"}
    if entry.lfs:
        headers |= {"X-Linked-ETag": f'"{entry.sha256}"', "X-Linked-Size": str(entry.size)}
        if by_xet := xet_headers(request, entry.sha256, commit.oid):
            return web.Response(headers={**headers, **by_xet})  # the bytes are in its store
    return send(request, store, entry, headers)


def send(request: web.Request, store: Store, entry: Entry, headers: dict[str, str]) -> web.Response:
    wanted = request.headers.get("Range")
    span = byte_range(wanted, entry.size) if wanted else range(entry.size)
    if span is None:
        return web.Response(status=416, headers={**headers, "Content-Range": f"bytes */{entry.size}"})
    if wanted:
        headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{entry.size}"
    body = store.read(entry, span.start, len(span))
    return web.Response(
        status=206 if wanted else 200, body=body, headers=headers, content_type="application/octet-stream"
    )


def byte_range(header: str, size: int) -> range | None:
    """The bytes that a Range header asks for, cut to the file; None where it asks for none that exist."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header.strip())
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        span = range(max(0, size - int(match[2])), size)
    else:
        span = range(int(match[1]), min(size, int(match[2]) + 1) if match[2] else size)
    return span if span else None
