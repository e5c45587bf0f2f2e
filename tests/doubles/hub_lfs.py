"""Git LFS on the Hub's double: batch, uploads whole or in parts, verify.

What it does: says which objects it still wants, takes their bytes, and remembers for each repo which it has.

What it keeps true: bytes that do not hash to the name they were announced under are refused and forgotten; an object
already there gets no actions, so a resumed push sends nothing twice. Upload addresses need no token, as presigned
ones need none.

What it does not know: Xet, address expiry, downloads through LFS, proposals to foreign repos (batch has no create_pr).
"""

from __future__ import annotations

import hashlib
import os
from math import ceil
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.doubles.hub_access import STORE, base_url, writable
from tests.doubles.hub_store import Refusal, Repo

MULTIPART_OVER = web.AppKey("multipart_over", int)
BATCH = ".git/info/lfs/objects/batch"
CHUNK = 1 << 20


def add_routes(app: web.Application) -> None:
    app.router.add_routes([
        web.post("/{kind:datasets}/{ns}/{name}" + BATCH, batch),
        web.post("/{ns}/{name}" + BATCH, batch),
        web.put("/_lfs/{kind}/{ns}/{name}/{oid}", upload),
        web.put("/_lfs/{kind}/{ns}/{name}/{oid}/{part}", upload_part),
        web.post("/_lfs/{kind}/{ns}/{name}/{oid}/complete", complete),
        web.post("/_lfs/{kind}/{ns}/{name}/{oid}/verify", verify),
    ])  # fmt: skip


def repo_of(request: web.Request) -> Repo:
    """The repo in an upload address; whoever has the address may use it."""
    repo = request.app[STORE].repos.get("{kind}/{ns}/{name}".format_map(request.match_info))
    if repo is None:
        raise Refusal(404, "Repository not found", "RepoNotFound")
    return repo


async def batch(request: web.Request) -> web.Response:
    repo, _ = writable(request)
    body = await request.json()
    if body.get("operation") != "upload" or body.get("hash_algo", "sha256") != "sha256":
        raise Refusal(400, "The double takes only sha256 uploads")
    over = request.app[MULTIPART_OVER]
    large = "multipart" in body.get("transfers", []) and any(given["size"] > over for given in body["objects"])
    objects = [offer(request, repo, given["oid"], given["size"], over) for given in body["objects"]]
    return web.json_response(
        {"transfer": "multipart" if large else "basic", "objects": objects}, content_type="application/vnd.git-lfs+json"
    )


def offer(request: web.Request, repo: Repo, oid: str, size: int, over: int) -> dict[str, Any]:
    """What to do with one object: nothing where it is stored, else where to put it, in parts if it is large."""
    if oid in repo.lfs:
        return {"oid": oid, "size": size}
    here = f"{base_url(request)}/_lfs/{repo.kind}/{repo.name}/{oid}"
    put: dict[str, Any] = {"href": here, "header": {}}
    if size > over:
        parts = {f"{number:05d}": f"{here}/{number}" for number in range(1, ceil(size / over) + 1)}
        put = {"href": here + "/complete", "header": {"chunk_size": str(over), **parts}}
    return {"oid": oid, "size": size, "actions": {"upload": put, "verify": {"href": here + "/verify", "header": {}}}}


async def receive(request: web.Request, path: Path) -> str:
    """Write the request's body to a file and return its sha256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        async for chunk in request.content.iter_chunked(CHUNK):
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def keep(request: web.Request, repo: Repo, arrived: Path, sha256: str) -> web.Response:
    """Shelve an object whose bytes are all there, or refuse it if they are the wrong ones."""
    oid, store = request.match_info["oid"], request.app[STORE]
    if sha256 != oid:
        arrived.unlink()
        raise Refusal(400, f"The uploaded bytes have sha256 {sha256}, not {oid}")
    os.replace(arrived, store.object(oid))
    if oid not in repo.lfs:
        repo.lfs.append(oid)
    store.save()
    return web.json_response({"oid": oid})


async def upload(request: web.Request) -> web.Response:
    repo, arrived = repo_of(request), request.app[STORE].incoming()
    try:
        sha256 = await receive(request, arrived)
    except BaseException:
        arrived.unlink(missing_ok=True)  # cut off on the way: nothing half-arrived stays
        raise
    return keep(request, repo, arrived, sha256)


def part_path(request: web.Request, number: int) -> Path:
    return request.app[STORE].root / "incoming" / f"{request.match_info['oid']}.{number}"


async def upload_part(request: web.Request) -> web.Response:
    repo_of(request)
    etag = await receive(request, part_path(request, int(request.match_info["part"])))
    return web.Response(headers={"ETag": f'"{etag}"'})


async def complete(request: web.Request) -> web.Response:
    """Join the parts of one object; each must be there with the ETag it was given."""
    repo, body = repo_of(request), await request.json()
    digest, arrived = hashlib.sha256(), request.app[STORE].incoming()
    with arrived.open("wb") as file:
        for part in body["parts"]:
            path = part_path(request, part["partNumber"])
            data = path.read_bytes() if path.exists() else b""
            if part["etag"].strip('"') != hashlib.sha256(data).hexdigest():
                raise Refusal(400, f"Part {part['partNumber']} is not the one that was uploaded")
            digest.update(data)
            file.write(data)
            path.unlink()
    return keep(request, repo, arrived, digest.hexdigest())


async def verify(request: web.Request) -> web.Response:
    repo, body = repo_of(request), await request.json()
    request.app[STORE].large(repo, body["oid"], body["size"])
    return web.json_response({"message": "OK"})
