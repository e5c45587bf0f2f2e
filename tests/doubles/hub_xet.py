"""Xet and buckets on the Hub's double, as far as one machine can have them.

What it does: hands out Xet tokens whose store is a folder (`local://DIR`), which hf_xet itself fills and reads; keeps
buckets, whose files are paths with Xet hashes; and answers for files of repos that came by Xet.

What it keeps true: a file names only what is in the store, as the store's own records say; a private bucket is not
shown to others.

What it does not know: a store's own HTTP protocol (hf_xet works on the folder, so one process at a time), and expiry
of tokens.

"""

from __future__ import annotations

import json
import struct
import time
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.doubles.hub_access import STORE, base_url, caller, readable, writable, writer
from tests.doubles.hub_store import Refusal, now

XET = web.AppKey("xet", Path)
BUCKET = "/api/buckets/{ns}/{name}"
Bucket = dict[str, Any]


def add_routes(app: web.Application, store: Path) -> None:
    app[XET] = store
    app.router.add_routes([
        web.get("/api/{kind:datasets|models}/{ns}/{name}/xet-write-token/{rev}", write_token),
        web.get("/api/{kind:datasets|models}/{ns}/{name}/xet-read-token/{rev}", read_token),
        web.get(BUCKET + "/xet-{what:read|write}-token", bucket_token),
        web.post(BUCKET, create),
        web.get(BUCKET, info),
        web.get(BUCKET + "/tree", tree),
        web.get(BUCKET + "/tree/{prefix:.*}", tree),
        web.post(BUCKET + "/paths-info", paths_info),
        web.post(BUCKET + "/batch", batch),
        web.get("/buckets/{ns}/{name}/resolve/{path:.+}", resolve),
    ])  # fmt: skip


# -- the store


def stored(folder: Path) -> tuple[dict[str, int], dict[str, str]]:
    """Sizes of the files in a store by their Xet hash, and the hashes by sha256: read from its shard records, whose
    format is public (48 bytes a row: a file, its segments, their checks, its sha256)."""
    sizes: dict[str, int] = {}
    hashes: dict[str, str] = {}
    for record in folder.rglob("*.mdb"):
        data, at = record.read_bytes(), 48
        while data[at : at + 32] not in (b"\xff" * 32, b""):
            flags, number = struct.unpack_from("<II", data, at + 32)
            name = "".join(f"{part:016x}" for part in struct.unpack_from("<4Q", data, at))
            rows = [at + 48 * row for row in range(1, number + 1)]
            sizes[name] = sum(struct.unpack_from("<I", data, row + 36)[0] for row in rows)
            at += 48 * (1 + number * (2 if flags & 1 << 31 else 1))
            if flags & 1 << 30:
                hashes["".join(f"{part:016x}" for part in struct.unpack_from("<4Q", data, at))] = name
                at += 48
    return sizes, hashes


# -- tokens


def token(request: web.Request) -> web.Response:
    found = {"casUrl": f"local://{request.app[XET]}", "accessToken": "xet", "exp": int(time.time()) + 3600}
    headers = {
        "X-Xet-Cas-Url": found["casUrl"], "X-Xet-Access-Token": "xet", "X-Xet-Token-Expiration": str(found["exp"]),
    }  # fmt: skip
    return web.json_response(found, headers=headers)


async def write_token(request: web.Request) -> web.Response:
    writable(request)
    return token(request)


async def read_token(request: web.Request) -> web.Response:
    readable(request)
    return token(request)


async def bucket_token(request: web.Request) -> web.Response:
    found(request, write=request.match_info["what"] == "write")
    return token(request)


def holds(app: web.Application, sha256: str) -> bool:
    """Whether the bytes of a file came by Xet."""
    return XET in app and sha256 in stored(app[XET])[1]


def xet_headers(request: web.Request, sha256: str, commit: str) -> dict[str, str]:
    """What the answer for a file of a repo says of where its bytes lie; nothing where they did not come by Xet."""
    if not holds(request.app, sha256):
        return {}
    repo = "{kind}/{ns}/{name}".format_map({"kind": "models", **request.match_info})
    link = f'<{base_url(request)}/api/{repo}/xet-read-token/{commit}>; rel="xet-auth"'
    return {"X-Xet-Hash": stored(request.app[XET])[1][sha256], "Link": link}


# -- buckets


def found(request: web.Request, *, write: bool = False) -> Bucket:
    name = "{ns}/{name}".format_map(request.match_info)
    if write:
        writer(request, request.match_info["ns"])
    bucket = request.app[STORE].buckets.get(name)
    who = caller(request)
    if bucket is None or (bucket["private"] and not (who and who.owns(request.match_info["ns"]))):
        raise Refusal(404, f"Bucket not found: {name}", "RepoNotFound")
    return bucket


async def create(request: web.Request) -> web.Response:
    name = "{ns}/{name}".format_map(request.match_info)
    writer(request, request.match_info["ns"])
    body, buckets = await request.json() if request.can_read_body else {}, request.app[STORE].buckets
    url = f"{base_url(request)}/buckets/{name}"
    if name in buckets:
        raise Refusal(409, "You already created this bucket", url=url)
    buckets[name] = {"private": body.get("visibility") == "private" or bool(body.get("private")), "files": {}}
    return web.json_response({"url": url})


async def info(request: web.Request) -> web.Response:
    bucket, name = found(request), "{ns}/{name}".format_map(request.match_info)
    sizes = [each["size"] for each in bucket["files"].values()]
    return web.json_response({
        "id": name, "private": bucket["private"], "createdAt": now(), "size": sum(sizes), "totalFiles": len(sizes),
    })  # fmt: skip


async def tree(request: web.Request) -> web.Response:
    files, prefix = found(request)["files"], request.match_info.get("prefix", "")
    return web.json_response([row for path, row in sorted(files.items()) if path.startswith(prefix)])


async def paths_info(request: web.Request) -> web.Response:
    files, wanted = found(request)["files"], (await request.json())["paths"]
    return web.json_response([files[path] for path in wanted if path in files])


async def batch(request: web.Request) -> web.Response:
    files, sizes = found(request, write=True)["files"], stored(request.app[XET])[0]
    for line in (await request.read()).splitlines():
        change = json.loads(line)
        if change["type"] == "addFile":
            if change["xetHash"] not in sizes:
                raise Refusal(400, f"{change['path']} was not uploaded")
            row = {
                "type": "file",
                "path": change["path"],
                "size": sizes[change["xetHash"]],
                "xetHash": change["xetHash"],
            }
            files[change["path"]] = {**row, "mtime": now(), "uploadedAt": now()}
        elif change["type"] == "deleteFile":
            files.pop(change["path"], None)
    return web.json_response({"success": True, "failed": []})


async def resolve(request: web.Request) -> web.Response:
    row = found(request)["files"].get(request.match_info["path"])
    if row is None:
        raise Refusal(404, f"{request.match_info['path']} does not exist", "EntryNotFound")
    link = f"{base_url(request)}/api/buckets/{request.match_info['ns']}/{request.match_info['name']}/xet-read-token"
    headers = {"X-Xet-Hash": row["xetHash"], "Link": f'<{link}>; rel="xet-auth"', "X-Linked-Size": str(row["size"])}
    return web.Response(headers=headers)
