"""Collections on the Hub's double.

What it does: create, read, change and delete collections, and add, change and delete their items.

What it keeps true: a second collection of the same title in a namespace is 409 with the first one's slug; an item
that is already in is 409; a model or dataset must exist on the double; a note has at most 500 characters.

What it does not know: when exactly the Hub calls two collections the same, upvotes, themes beyond their name.
"""

from __future__ import annotations

import re
import secrets
from typing import Any

from aiohttp import web

from tests.doubles.hub_access import STORE, caller, writer
from tests.doubles.hub_store import Refusal, now

ITEM_TYPES = ("model", "dataset", "space", "paper", "collection", "bucket")
NOTE_LIMIT, TITLE_LIMIT = 500, 60
SLUG = "/api/collections/{ns}/{slug}"
Collection = dict[str, Any]


def add_routes(app: web.Application) -> None:
    app.router.add_routes([
        web.get("/api/collections", list_collections),
        web.post("/api/collections", create),
        web.get(SLUG, get),
        web.patch(SLUG, update),
        web.delete(SLUG, delete),
        web.post(SLUG + "/items", add_item),
        web.patch(SLUG + "/items/{item}", update_item),
        web.delete(SLUG + "/items/{item}", delete_item),
    ])  # fmt: skip


def shown(collection: Collection) -> Collection:
    owner = {"name": collection["owner"], "fullname": collection["owner"], "type": "user", "isHf": False}
    items = [{**item, "position": at} for at, item in enumerate(collection["items"])]
    return {**collection, "owner": owner, "items": items}


def found(request: web.Request, *, write: bool = False) -> Collection:
    slug = "{ns}/{slug}".format_map(request.match_info)
    collection = request.app[STORE].collections.get(slug)
    if write:
        writer(request, request.match_info["ns"])
    who = caller(request)
    if collection is None or (collection["private"] and not (who and who.owns(collection["owner"]))):
        raise Refusal(404, f"Collection not found: {slug}")
    return collection


def saved(request: web.Request, collection: Collection) -> None:
    collection["lastUpdated"] = now()
    request.app[STORE].save()


async def list_collections(request: web.Request) -> web.Response:
    who, owner = caller(request), request.query.get("owner")
    rows = request.app[STORE].collections.values()
    wanted = [
        shown(row) for row in rows
        if owner in (None, row["owner"]) and (not row["private"] or (who and who.owns(row["owner"])))
    ]  # fmt: skip
    for row in wanted:
        del row["position"]  # the client numbers them itself
        row["items"] = row["items"][:4]
    return web.json_response(wanted)


async def create(request: web.Request) -> web.Response:
    body = await request.json()
    owner, title, store = body["namespace"], body.get("title", ""), request.app[STORE]
    writer(request, owner)
    if not 0 < len(title) <= TITLE_LIMIT:
        raise Refusal(400, f'"title" must have 1 to {TITLE_LIMIT} characters')
    for slug, known in store.collections.items():
        if (known["owner"], known["title"]) == (owner, title):
            raise Refusal(409, "You already created this collection", slug=slug)
    slug = f"{owner}/{re.sub(r'[^a-z0-9]+', '-', title.lower()).strip('-')}-{secrets.token_hex(12)}"
    collection = store.collections[slug] = {
        "slug": slug, "title": title, "description": body.get("description", ""), "owner": owner, "items": [],
        "private": bool(body.get("private")), "position": len(store.collections), "theme": "green", "upvotes": 0,
    }  # fmt: skip
    saved(request, collection)
    return web.json_response(shown(collection))


async def get(request: web.Request) -> web.Response:
    return web.json_response(shown(found(request)))


async def update(request: web.Request) -> web.Response:
    collection, body = found(request, write=True), await request.json()
    collection |= {key: body[key] for key in ("title", "description", "position", "private", "theme") if key in body}
    saved(request, collection)
    return web.json_response({"success": True, "data": shown(collection)})


async def delete(request: web.Request) -> web.Response:
    collection = found(request, write=True)
    del request.app[STORE].collections[collection["slug"]]
    request.app[STORE].save()
    return web.json_response({"success": True})


def noted(text: str) -> dict[str, str]:
    if len(text) > NOTE_LIMIT:
        raise Refusal(400, f'"note" length must be less than or equal to {NOTE_LIMIT} characters long')
    return {"text": text, "html": text}


async def add_item(request: web.Request) -> web.Response:
    collection, body = found(request, write=True), await request.json()
    name, kind = body["item"]["id"], body["item"]["type"]
    if kind not in ITEM_TYPES:
        raise Refusal(400, f'"item.type" must be one of [{", ".join(ITEM_TYPES)}]')
    if kind in ("model", "dataset") and request.app[STORE].find(kind, name) is None:
        raise Refusal(404, f"{kind} {name} not found")
    if any((item["id"], item["type"]) == (name, kind) for item in collection["items"]):
        raise Refusal(409, "This item is already in the collection")
    item: dict[str, Any] = {"_id": secrets.token_hex(12), "id": name, "type": kind, "repoType": kind}
    if body.get("note"):
        item["note"] = noted(body["note"])
    collection["items"].append(item)
    saved(request, collection)
    return web.json_response(shown(collection))


def item_of(request: web.Request, collection: Collection) -> dict[str, Any]:
    item = next((item for item in collection["items"] if item["_id"] == request.match_info["item"]), None)
    if item is None:
        raise Refusal(404, "Collection item not found")
    return item


async def update_item(request: web.Request) -> web.Response:
    collection, body = found(request, write=True), await request.json()
    item = item_of(request, collection)
    if "note" in body:
        item["note"] = noted(body["note"])
    if "position" in body:
        collection["items"].remove(item)
        collection["items"].insert(body["position"], item)
    saved(request, collection)
    return web.json_response({"success": True})


async def delete_item(request: web.Request) -> web.Response:
    collection = found(request, write=True)
    collection["items"].remove(item_of(request, collection))
    saved(request, collection)
    return web.json_response({"success": True})
