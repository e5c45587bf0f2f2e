"""A double of the Hugging Face Hub that speaks real HTTP, for tests of everything that uploads or downloads.

    python -m tests.doubles.hub --port 0 [--root DIR] [--page-size N] [--multipart-over BYTES] [--xet DIR]

What it does: prints one line, `http://127.0.0.1:PORT`, when it is ready, and answers the calls that huggingface_hub and
datasets make with HF_HUB_DISABLE_XET=1: repos, commits, LFS, files, cards, collections, whoami. Tokens: `hf_write` and
`hf_read`, see hub_access. With --root its state outlives it; without, it lives in a temporary folder and goes with it.

For tests it also answers, on paths of its own (see hub_faults and hub_commits.commit_as_someone):

    GET  /_double/requests    POST /_double/faults    POST /_double/reset    POST /_double/commit

What it keeps true: one request at a time changes the state, so a commit is never half seen.

What it does not know: Xet and buckets, unless it is given a folder for them (see hub_xet; else huggingface_hub must be
told HF_HUB_DISABLE_XET=1), spaces, jobs, discussions, and
what the real server does where its clients do not care. It was written from its clients' side.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import tempfile
from pathlib import Path

from aiohttp import web

from tests.doubles import hub_collections, hub_commits, hub_files, hub_lfs, hub_repos, hub_xet
from tests.doubles.hub_access import ORGANIZATIONS, STORE, caller, refuse
from tests.doubles.hub_faults import CONTROL, Handler, Troubles
from tests.doubles.hub_store import Refusal, Store

MAX_BODY = 1 << 32


@web.middleware
async def refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Say no in the Hub's manner, whoever said it: a route, the router, or a body that makes no sense."""
    try:
        return await handler(request)
    except Refusal as refusal:
        return refuse(refusal)
    except web.HTTPException as error:
        return refuse(Refusal(error.status, f"The double has no {request.method} {request.path}"))
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        return refuse(Refusal(400, f"Malformed request: {type(error).__name__} {error}"))


async def whoami(request: web.Request) -> web.Response:
    who = caller(request)
    if who is None:
        raise Refusal(401, "Invalid username or password.")
    organizations = [{"type": "org", "name": name, "fullname": name, "roleInOrg": who.role} for name in ORGANIZATIONS]
    token = {"displayName": who.role, "role": who.role, "createdAt": "2026-01-01T00:00:00.000Z"}
    return web.json_response({
        "type": "user", "id": "0" * 24, "name": who.user, "fullname": who.user, "email": f"{who.user}@double",
        "orgs": organizations, "auth": {"type": "access_token", "accessToken": token},
    })  # fmt: skip


async def agent_harnesses(_request: web.Request) -> web.Response:
    """Asked once by every client; the real list is of no use here."""
    raise Refusal(404, "Not found")


async def old_style_repo(request: web.Request) -> web.Response:
    """Repos without a namespace, as `squad` once was: none here, and said so that clients understand."""
    status = 404 if caller(request) else 401
    raise Refusal(status, f"Repository not found: {request.match_info['name']}", "RepoNotFound")


def make_app(root: Path, *, page_size: int, multipart_over: int, xet: Path | None = None) -> web.Application:
    app = web.Application(client_max_size=MAX_BODY, middlewares=[refusals])
    store = app[STORE] = Store(root)
    app[hub_files.PAGE_SIZE], app[hub_lfs.MULTIPART_OVER] = page_size, multipart_over
    troubles = Troubles()
    troubles.resets["repos"] = store.clear
    troubles.add_routes(app)
    app.router.add_post(CONTROL + "commit", hub_commits.commit_as_someone)
    app.router.add_get("/api/agent-harnesses", agent_harnesses)
    app.router.add_get("/api/whoami-v2", whoami)
    for routes in (hub_repos, hub_commits, hub_files, hub_lfs, hub_collections):
        routes.add_routes(app)
    if xet is not None:
        hub_xet.add_routes(app, xet)
    app.router.add_get("/api/{kind:datasets|models}/{name}", old_style_repo)
    app.router.add_get("/api/{kind:datasets|models}/{name}/{verb:revision|tree}/{rest:.*}", old_style_repo)
    return app


async def serve(app: web.Application, port: int) -> None:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):  # so that the temporary folder goes too
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="A double of the Hugging Face Hub.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--root", type=Path, help="where the state lives; a temporary folder unless told")
    parser.add_argument("--page-size", type=int, default=1000, help="rows in one page of a tree")
    parser.add_argument("--multipart-over", type=int, default=5 * 10**9, help="larger LFS objects go in parts")
    parser.add_argument(
        "--xet", type=Path, help="a folder that is the Xet store; without it there is neither Xet nor bucket"
    )
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        root = options.root or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hub-double-")))
        app = make_app(root, page_size=options.page_size, multipart_over=options.multipart_over, xet=options.xet)
        asyncio.run(serve(app, options.port))


if __name__ == "__main__":
    main()
