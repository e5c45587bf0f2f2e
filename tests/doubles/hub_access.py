"""Who may do what on the Hub's double, and how it says no.

What it does: knows two tokens of one user, finds the repo that a request is about, and turns a `Refusal` into the JSON
body and the X-Error-* headers that huggingface_hub reads.

What it keeps true: `hf_write` writes to the namespaces `tester` and `lab`, `hf_read` reads only (403 on a write), no
token is 401 on a write. What a caller may not see looks as if it did not exist: 401 without a token, 404 with one,
both RepoNotFound. A write into a foreign namespace is 403.

What it does not know: fine-grained tokens, gated repos, resource groups, roles inside an organization.
"""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from tests.doubles.hub_store import Refusal, Repo, Store

USER, ORGANIZATIONS = "tester", ("lab",)
STORE = web.AppKey("store", Store)
KINDS = {"datasets": "dataset", "models": "model"}


@dataclass(frozen=True)
class Caller:
    """Who stands behind a token."""

    user: str
    role: str

    def owns(self, namespace: str) -> bool:
        return namespace in (self.user, *ORGANIZATIONS)


TOKENS = {"hf_write": Caller(USER, "write"), "hf_read": Caller(USER, "read")}


def caller(request: web.Request) -> Caller | None:
    """The token's owner; None without a token. A token that nobody has is refused everywhere, reads included."""
    header = request.headers.get("Authorization")
    if header is None:
        return None
    known = TOKENS.get(header.removeprefix("Bearer ").strip())
    if known is None:
        raise Refusal(401, "Invalid credentials in Authorization header")
    return known


def writer(request: web.Request, namespace: str | None, *, code: str = "") -> Caller:
    """The caller, if its token may write to this namespace; None stands for a proposal, which anyone may make."""
    who = caller(request)
    if who is None:
        raise Refusal(401, "Invalid username or password.", code)
    if who.role != "write":
        raise Refusal(403, "Forbidden: you must use a write token to upload to a repository.")
    if namespace is not None and not who.owns(namespace):
        raise Refusal(403, f'You don\'t have the rights to write under the namespace "{namespace}"')
    return who


def kind_of(request: web.Request) -> str:
    return KINDS[request.match_info.get("kind", "models")]


def readable(request: web.Request) -> Repo:
    """The repo in the request's path, if the caller may see it."""
    who = caller(request)
    name = "{ns}/{name}".format_map(request.match_info)
    repo = request.app[STORE].find(kind_of(request), name)
    if repo is None or (repo.private and not (who and who.owns(repo.namespace))):
        if who is None:
            raise Refusal(401, "Invalid username or password.", "RepoNotFound")
        raise Refusal(404, "Repository not found", "RepoNotFound")
    return repo


def writable(request: web.Request) -> tuple[Repo, Caller]:
    """The repo in the request's path and the caller, who may write to it or is only proposing (?create_pr=1)."""
    if caller(request) is None:
        raise Refusal(401, "Invalid username or password.", "RepoNotFound")
    repo = readable(request)
    proposal = request.query.get("create_pr") == "1"
    return repo, writer(request, None if proposal else repo.namespace, code="RepoNotFound")


def refuse(refusal: Refusal) -> web.Response:
    headers = {"X-Error-Message": refusal.message.replace("\n", " ")}
    if refusal.code:
        headers["X-Error-Code"] = refusal.code
    return web.json_response({"error": refusal.message, **refusal.extra}, status=refusal.status, headers=headers)


def base_url(request: web.Request) -> str:
    return f"{request.scheme}://{request.host}"


def repo_url(request: web.Request, repo: Repo) -> str:
    return f"{base_url(request)}/{'datasets/' if repo.kind == 'dataset' else ''}{repo.name}"
