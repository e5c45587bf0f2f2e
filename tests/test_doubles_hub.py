"""The Hub's double is believed only because the real clients work against it.

What it does: runs huggingface_hub and datasets, each script in a fresh process (they read HF_ENDPOINT and the like when
imported), against a running double; and checks over plain HTTP what the clients would hide.

What it keeps true: no request leaves this machine; nothing is kept in the caller's own Hugging Face folders.

What it does not know: whether the real Hub answers in the same way. See the docstrings of tests/doubles/hub*.py.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from email.message import Message
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.doubles.hub_cards import check_card
from tests.doubles.process import Double, running

PREAMBLE = """
import json, os, urllib.request
from pathlib import Path
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
api, url, here = HfApi(), os.environ["HF_ENDPOINT"], Path(os.environ["HF_HOME"]).parent

def control(verb, body):
    urllib.request.urlopen(f"{url}/_double/{verb}", json.dumps(body).encode()).read()

def refused(status, call, *args, error=HfHubHTTPError, **kwargs):
    try:
        call(*args, **kwargs)
    except error as caught:
        assert caught.response.status_code == status, caught
        return caught
    raise AssertionError(f"{call} was not refused")
"""


class Reply(NamedTuple):
    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    with running("tests.doubles.hub", "--page-size", "3") as url:
        yield url


def client(script: str, url: str, folder: Path, *, token: str = "hf_write") -> str:
    """Run a script with the real clients pointed at the double; it fails by raising."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    env |= {"HF_ENDPOINT": url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(folder / "home"), "HF_TOKEN": token}
    env |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    program = PREAMBLE + textwrap.dedent(script)
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def ask(
    method: str, address: str, body: Any = None, *, token: str | None = "hf_write", headers: Mapping[str, str] = {},
) -> Reply:  # fmt: skip
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    given = {**({"Authorization": f"Bearer {token}"} if token else {}), **headers}
    request = urllib.request.Request(address, data, given, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return Reply(reply.status, reply.headers, reply.read())
    except urllib.error.HTTPError as error:
        return Reply(error.code, error.headers, error.read())


def seed(url: str, repo: str, files: Mapping[str, Any], **more: Any) -> None:
    assert ask("POST", f"{url}/_double/commit", {"repo": repo, "files": files, **more}, token=None).status == 200


def committed(url: str, repo: str, *lines: dict[str, Any], token: str | None = "hf_write", query: str = "") -> Reply:
    header = {"key": "header", "value": {"summary": "a commit"}}
    body = b"".join(json.dumps(line).encode() + b"\n" for line in (header, *lines))
    return ask("POST", f"{url}/api/datasets/{repo}/commit/main{query}", body, token=token)


def text_file(path: str, text: str) -> dict[str, Any]:
    content = base64.b64encode(text.encode()).decode()
    return {"key": "file", "value": {"path": path, "content": content, "encoding": "base64"}}


# -- the real clients


def test_repos_and_commits(hub: str, tmp_path: Path) -> None:
    client(
        """
        first = api.create_repo("tester/corpus", repo_type="dataset")
        assert first == f"{url}/datasets/tester/corpus", first
        assert api.create_repo("tester/corpus", repo_type="dataset", exist_ok=True) == first
        refused(409, api.create_repo, "tester/corpus", repo_type="dataset")
        refused(403, api.create_repo, "stranger/corpus", repo_type="dataset")
        refused(404, api.dataset_info, "tester/absent", error=RepositoryNotFoundError)
        assert api.whoami()["orgs"][0]["name"] == "lab"

        folder = here / "folder"
        for name, body in {"README.md": "---\\nlicense: mit\\nlanguage: [en]\\n---\\n# x", "data/a.txt": "A",
                           "data/b.txt": "B", "data/deep/c.parquet": "PAR1" * 100, "data/empty.parquet": ""}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(body)
        made = api.upload_folder(repo_id="tester/corpus", folder_path=folder, repo_type="dataset")
        assert made.oid == api.dataset_info("tester/corpus").sha
        again = api.upload_folder(repo_id="tester/corpus", folder_path=folder, repo_type="dataset")
        assert again.oid == made.oid, "an unchanged folder makes no commit"

        # Five rows over pages of three.
        rows = {row.path: row for row in api.list_repo_tree("tester/corpus", recursive=True, repo_type="dataset")}
        assert list(rows) == [".gitattributes", "README.md", "data", "data/a.txt", "data/b.txt", "data/deep",
                              "data/deep/c.parquet", "data/empty.parquet"], list(rows)
        assert rows["data/deep/c.parquet"].lfs.size == 400 and rows["data/empty.parquet"].lfs is None
        flat = api.list_repo_tree("tester/corpus", "data", repo_type="dataset", expand=True)
        assert {row.path: row.last_commit.oid for row in flat}["data/deep"] == made.oid
        found = api.get_paths_info("tester/corpus", ["data/a.txt", "data", "nowhere"], repo_type="dataset")
        assert [row.path for row in found] == ["data/a.txt", "data"]
        info = api.dataset_info("tester/corpus", files_metadata=True)
        assert info.card_data.license == "mit" and "language:en" in info.tags and not info.private
        assert {row.rfilename: row.size for row in info.siblings}["data/a.txt"] == 1

        for name, want in (("data/a.txt", b"A"), ("data/deep/c.parquet", b"PAR1" * 100)):
            path = api.hf_hub_download("tester/corpus", name, repo_type="dataset")
            assert Path(path).read_bytes() == want and made.oid in path
        refused(404, api.hf_hub_download, "tester/corpus", "none", repo_type="dataset", error=EntryNotFoundError)
        refused(404, api.dataset_info, "tester/corpus", revision="none", error=RevisionNotFoundError)

        def commit(text, **kwargs):
            add = CommitOperationAdd("data/a.txt", text.encode())
            return api.create_commit("tester/corpus", [add], commit_message=text, repo_type="dataset", **kwargs)
        second = commit("two", parent_commit=made.oid)
        refused(412, commit, "three", parent_commit=made.oid)
        control("commit", {"repo": "tester/corpus", "files": {"data/b.txt": None}})
        refused(412, commit, "three", parent_commit=second.oid)
        proposal = commit("proposed", create_pr=True)
        assert proposal.pr_url == f"{url}/datasets/tester/corpus/discussions/1" and proposal.pr_revision == "refs/pr/1"
        read = api.hf_hub_download("tester/corpus", "data/a.txt", repo_type="dataset", revision="refs/pr/1")
        assert Path(read).read_text() == "proposed"
        api.create_branch("tester/corpus", branch="side", revision=made.oid, repo_type="dataset")
        commit("on the side", revision="side")
        api.delete_folder("data", "tester/corpus", repo_type="dataset")
        assert api.list_repo_files("tester/corpus", repo_type="dataset") == [".gitattributes", "README.md"]
        assert "data/b.txt" in api.list_repo_files("tester/corpus", repo_type="dataset", revision="side")
        titles = [commit.title for commit in api.list_repo_commits("tester/corpus", repo_type="dataset")]
        assert titles[1:3] == ["Someone's commit", "two"] and len(titles) == 5, titles
        refs = api.list_repo_refs("tester/corpus", repo_type="dataset", include_pull_requests=True)
        assert sorted(ref.name for ref in refs.branches) == ["main", "side"] and len(refs.pull_requests) == 1

        api.create_repo("lab/model", private=True)
        api.upload_file(path_or_fileobj=b"{}", path_in_repo="config.json", repo_id="lab/model")
        assert api.model_info("lab/model").private and Path(api.hf_hub_download("lab/model", "config.json")).exists()
        refused(401, HfApi(token=False).model_info, "lab/model", error=RepositoryNotFoundError)
        reader = HfApi(token="hf_read")
        assert reader.file_exists("lab/model", "config.json")
        refused(403, reader.upload_file, path_or_fileobj=b"", path_in_repo="x", repo_id="lab/model")
        """,
        hub,
        tmp_path,
    )


def test_datasets_round_trip(hub: str, tmp_path: Path) -> None:
    client(
        """
        from datasets import Dataset, load_dataset
        rows = [{"text": f"row {n}", "pairs": [{"instruction": "i" * n, "response": "r"}]} for n in range(40)]
        made = Dataset.from_list(rows)
        made.push_to_hub("lab/pairs", num_shards=3)
        head = api.dataset_info("lab/pairs").sha
        made.push_to_hub("lab/pairs", num_shards=3)
        assert api.dataset_info("lab/pairs").sha == head, "an unchanged push makes no commit"
        assert load_dataset("lab/pairs", split="train").to_list() == rows
        assert list(load_dataset("lab/pairs", split="train", streaming=True)) == rows
        made.select(range(10)).push_to_hub("lab/pairs", "small", revision="side", private=True)
        assert load_dataset("lab/pairs", "small", revision="side", split="train").num_rows == 10
        made.to_iterable_dataset(num_shards=2).push_to_hub("lab/streamed")
        assert load_dataset("lab/streamed", split="train").num_rows == 40
        control("commit", {"repo": "someone/raw", "files": {"corpus.jsonl": '{"text": "a"}\\n{"text": "b"}\\n'}})
        assert load_dataset("someone/raw", split="train")["text"][:] == ["a", "b"], "a repo without a card"
        """,
        hub,
        tmp_path,
    )
    ranged = ask("GET", f"{hub}/_double/requests", token=None).json
    assert any(row["status"] == 206 for row in ranged), "streaming reads by range"


def test_cards_and_collections(hub: str, tmp_path: Path) -> None:
    client(
        """
        from huggingface_hub import DatasetCard, metadata_update
        api.create_repo("lab/carded", repo_type="dataset")
        card = DatasetCard("---\\nlicense: cc-by-4.0\\nsize_categories: [1K<n<10K]\\n---\\n# Carded")
        card.push_to_hub("lab/carded")
        assert DatasetCard.load("lab/carded").data.license == "cc-by-4.0"
        metadata_update("lab/carded", {"language": ["fr"]}, repo_type="dataset")
        assert api.dataset_info("lab/carded").card_data.language == ["fr"]
        for wrong in ("license: WTF", "language: EN", "size_categories: huge", "a: [", "license: mit\\nlicense: mit"):
            bad = f"---\\n{wrong}\\n---\\n".encode()
            try:
                target = {"repo_id": "lab/carded", "repo_type": "dataset", "path_in_repo": "README.md"}
                api.upload_file(path_or_fileobj=bad, **target)
            except ValueError as error:
                assert "Invalid metadata" in str(error), error
            else:
                raise AssertionError(wrong)

        shelf = api.create_collection("A shelf", namespace="lab", description="ours")
        assert api.create_collection("A shelf", namespace="lab", exists_ok=True).slug == shelf.slug
        refused(409, api.create_collection, "A shelf", namespace="lab")
        shelf = api.add_collection_item(shelf.slug, "lab/carded", "dataset", note="first")
        shelf = api.add_collection_item(shelf.slug, "lab/carded", "dataset", exists_ok=True)
        refused(409, api.add_collection_item, shelf.slug, "lab/carded", "dataset")
        refused(404, api.add_collection_item, shelf.slug, "lab/none", "dataset")
        api.add_collection_item(shelf.slug, "2406.14491", "paper")
        api.update_collection_item(shelf.slug, shelf.items[0].item_object_id, note="changed", position=1)
        items = api.get_collection(shelf.slug).items
        assert [(item.item_type, item.note) for item in items] == [("paper", None), ("dataset", "changed")], items
        api.delete_collection_item(shelf.slug, items[0].item_object_id)
        assert len(api.get_collection(shelf.slug).items) == 1
        assert api.update_collection_metadata(shelf.slug, title="B shelf").title == "B shelf"
        api.delete_collection(shelf.slug)
        refused(404, api.get_collection, shelf.slug)
        """,
        hub,
        tmp_path,
    )


def test_faults(hub: str, tmp_path: Path) -> None:
    client(
        """
        import logging, time
        logging.disable(logging.WARNING)  # the client's notes about its retries
        def upload(name, body=b"x", **kwargs):
            add = CommitOperationAdd(name, body)
            return api.create_commit("lab/faulty", [add], commit_message=name, repo_type="dataset", **kwargs)
        api.create_repo("lab/faulty", repo_type="dataset")
        control("faults", [{"match": "POST .*/preupload/", "status": 503, "times": 1},
                           {"match": "^PUT /_lfs/", "status": 500, "times": 1},
                           {"match": "POST .*/verify$", "cut": "reply"}])
        upload("big.parquet", b"PAR1" * 1000)  # the client retries all three
        control("faults", {"match": "/commit/", "status": 409, "body": {"error": "busy"}, "after": 1})
        upload("passes")
        assert "busy" in str(refused(409, upload, "struck"))
        control("faults", {"match": "/commit/", "status": 429, "headers": {"Retry-After": "7"}})
        assert refused(429, upload, "struck").response.headers["Retry-After"] == "7"
        control("faults", {"match": "/commit/", "cut": True})
        try:
            upload("lost")  # carried out, but nobody is told
        except Exception as error:
            assert not isinstance(error, HfHubHTTPError), error
            assert api.file_exists("lab/faulty", "lost", repo_type="dataset")
        else:
            raise AssertionError("the reply was not cut")
        control("faults", {"match": "^PUT /_lfs/", "cut": "upload", "times": 1})
        upload("large.parquet", os.urandom(3_000_000))  # cut on its way, sent again
        control("faults", {"match": "/commit/", "status": 500, "applied": True})
        refused(500, upload, "applied")
        assert api.file_exists("lab/faulty", "applied", repo_type="dataset")
        control("faults", {"match": "whoami", "delay_seconds": 0.5})
        start = time.monotonic()
        api.whoami()
        assert time.monotonic() - start >= 0.5
        """,
        hub,
        tmp_path,
    )
    rows = ask("GET", f"{hub}/_double/requests", token=None).json
    seen = [row["status"] for row in rows if "lab/faulty" in row["path"] and "/commit/" in row["path"]]
    assert seen == [200, 200, 409, 429, 0, 200, 500]


# -- what the clients would hide


def test_tokens_and_refusals(hub: str) -> None:
    seed(hub, "someone/closed", {"a": "1"}, private=True)
    seed(hub, "someone/open", {"a": "1"})
    for token, status in ((None, 401), ("hf_write", 404)):
        reply = ask("GET", f"{hub}/api/datasets/someone/closed", token=token)
        assert (reply.status, reply.headers["X-Error-Code"]) == (status, "RepoNotFound")
    assert ask("GET", f"{hub}/api/whoami-v2", token="hf_nobody").headers["X-Error-Message"].startswith("Invalid cred")
    line = text_file("b", "2")
    assert committed(hub, "someone/open", line, token=None).status == 401
    assert committed(hub, "someone/open", line, token="hf_read").status == 403
    assert committed(hub, "someone/open", line).status == 403
    assert committed(hub, "someone/open", line, query="?create_pr=1").json["pullRequestUrl"].endswith("/discussions/1")
    assert ask("GET", f"{hub}/api/agent-harnesses").status == 404
    old_style = ask("GET", f"{hub}/api/datasets/squad")
    assert (old_style.status, old_style.headers["X-Error-Code"]) == (404, "RepoNotFound")
    assert "has no GET /api/nothing" in ask("GET", f"{hub}/api/nothing").json["error"]
    assert ask("POST", f"{hub}/api/repos/create", b"{not json").status == 400


def test_a_refused_commit_changes_nothing(hub: str) -> None:
    seed(hub, "lab/strict", {"a": "1"})
    before = ask("GET", f"{hub}/api/datasets/lab/strict").json["sha"]
    absent = {"key": "lfsFile", "value": {"path": "x.bin", "algo": "sha256", "oid": "0" * 64, "size": 3}}
    gone = {"key": "deletedFile", "value": {"path": "nowhere"}}
    bad_card, outside, clash = text_file("README.md", "---\nlicense: no-such\n---\n"), "../x", text_file("a/b", "")
    for line, status in ((absent, 400), (gone, 404), (bad_card, 400), (text_file(outside, ""), 400), (clash, 400)):
        assert committed(hub, "lab/strict", text_file("good", "2"), line).status == status, line
    assert ask("GET", f"{hub}/api/datasets/lab/strict").json["sha"] == before


def test_ranges_and_etags(hub: str) -> None:
    seed(hub, "lab/ranged", {"a.txt": "0123456789", "b.parquet": {"base64": base64.b64encode(b"PAR1").decode()}})
    address = f"{hub}/datasets/lab/ranged/resolve/main/"
    spans = {"bytes=2-4": (b"234", "2-4"), "bytes=7-": (b"789", "7-9"), "bytes=-3": (b"789", "7-9")}
    for asked, (body, span) in spans.items():
        reply = ask("GET", address + "a.txt", headers={"Range": asked})
        assert (reply.status, reply.body, reply.headers["Content-Range"]) == (206, body, f"bytes {span}/10")
    assert ask("GET", address + "a.txt", headers={"Range": "bytes=10-"}).headers["Content-Range"] == "bytes */10"
    head = ask("HEAD", address + "a.txt")
    assert head.headers["ETag"] == '"' + hashlib.sha1(b"blob 10\x000123456789").hexdigest() + '"'
    assert head.headers["Content-Length"] == "10"
    assert "X-Linked-Size" not in head.headers
    large = ask("HEAD", address + "b.parquet").headers
    assert large["X-Linked-ETag"] == '"' + hashlib.sha256(b"PAR1").hexdigest() + '"'
    assert (large["X-Linked-Size"], len(large["X-Repo-Commit"])) == ("4", 40)


def test_lfs_refuses_other_bytes(hub: str) -> None:
    seed(hub, "lab/lfs", {"a": "1"})
    oid = hashlib.sha256(b"right").hexdigest()

    def batch() -> dict[str, Any]:
        body = {"operation": "upload", "transfers": ["basic"], "objects": [{"oid": oid, "size": 5}]}
        found: dict[str, Any] = ask("POST", f"{hub}/datasets/lab/lfs.git/info/lfs/objects/batch", body).json["objects"][
            0
        ]
        return found

    actions = batch()["actions"]
    assert ask("PUT", actions["upload"]["href"], b"wrong", token=None).status == 400
    assert ask("POST", actions["verify"]["href"], {"oid": oid, "size": 5}).status == 400
    assert ask("PUT", actions["upload"]["href"], b"right", token=None).status == 200
    assert ask("POST", actions["verify"]["href"], {"oid": oid, "size": 5}).status == 200
    assert "actions" not in batch()


def test_multipart_upload_and_restart(tmp_path: Path) -> None:
    """Killed without warning, the double comes back with its repos; and large objects go in parts where it says so."""
    options = ("--root", str(tmp_path / "root"), "--multipart-over", "1000")
    double = Double("tests.doubles.hub", *options)
    script = """
    api.create_repo("lab/kept", repo_type="dataset")
    body = os.urandom(2500)
    api.upload_file(path_or_fileobj=body, path_in_repo="x.bin", repo_id="lab/kept", repo_type="dataset")
    assert Path(api.hf_hub_download("lab/kept", "x.bin", repo_type="dataset")).read_bytes() == body
    """
    client(script, double.url, tmp_path)
    sent = [row["path"][-2:] for row in ask("GET", f"{double.url}/_double/requests").json if row["method"] == "PUT"]
    before = ask("GET", f"{double.url}/api/datasets/lab/kept").json
    double.kill()
    assert sent == ["/1", "/2", "/3"]
    with running("tests.doubles.hub", *options) as url:
        assert ask("GET", f"{url}/api/datasets/lab/kept").json == before
        assert len(ask("GET", f"{url}/datasets/lab/kept/resolve/main/x.bin").body) == 2500
        ask("POST", f"{url}/_double/reset", {"only": ["requests"]})
        assert ask("GET", f"{url}/_double/requests").json == []
        ask("POST", f"{url}/_double/reset")
        assert ask("GET", f"{url}/api/datasets/lab/kept").status == 404


def test_a_double_that_dies_says_why() -> None:
    with pytest.raises(RuntimeError, match=r"status 2\n(.|\n)*unrecognized arguments: --nonsense"), \
            running("tests.doubles.hub", "--nonsense"):  # fmt: skip
        pass


@pytest.mark.parametrize(
    ("yaml", "complaint"),
    [
        ("configs:\n- data_files: a", '"configs[0].config_name" is required'),
        ("configs:\n- config_name: a", '"configs[0].data_files" is required'),
        ("configs:\n- {config_name: a, data_files: [{split: train}]}", '"configs[0].data_files[0].path" must be'),
        ("tags: one", '"tags" must be an array'),
        ("tags: [1]", '"tags[0]" must be a string'),
        ("language: [en, zh-CN]", '"language[1]" must only contain lowercase characters'),
        ("license: [mit, MIT]", '"license[1]" must be one of [apache-2.0, mit,'),
        ("size_categories: [10K]", '"size_categories[0]" must be one of'),
    ],
)
def test_card_rules(yaml: str, complaint: str) -> None:
    errors, _ = check_card(f"---\n{yaml}\n---\n# Title\n")
    assert len(errors) == 1
    assert errors[0].startswith(complaint)


def test_good_cards_pass() -> None:
    keys = ["license: [other, cc-by-nd-4.0, bigcode-openrail-m]", "language: [en, code]", "size_categories: n<1K"]
    configs = ["configs:", "- config_name: x", "  data_files:", "  - {split: train, path: [data/*.parquet]}"]
    assert check_card("\n".join(["---", *keys, "tags: [a]", *configs, "---", "# Title"])) == ([], [])
    assert check_card("# No metadata")[1] == ["empty or missing yaml metadata in repo card"]
