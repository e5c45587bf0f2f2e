"""Pushing: a run directory becomes a dataset repo, whole or not at all, and what others wrote there stays.

What is held, through the real huggingface_hub and datasets in processes of their own, against a double of the Hub over
HTTP: the rows that come back, what a second push changes and keeps, every fault of a server between the first request
and the last, and that a refusal is one line that says what to do and never shows a token.
"""

from __future__ import annotations

import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from hub_instructpt.cards import end
from hub_instructpt.runs.manifest import Manifest
from tests.conftest import run_cli
from tests.doubles.plain_http import ask
from tests.push_cases import client, make_part, make_run

pytestmark = pytest.mark.xdist_group("push")

END = end()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run: five rows in three shards."""
    return make_run(tmp_path_factory.mktemp("runs"), "--keep-column", "title", "--license", "psf")


@pytest.fixture(scope="module")
def part(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run before its last shard was sealed."""
    return make_part(run, tmp_path_factory.mktemp("part") / "run")


def test_what_is_pushed_comes_back_as_it_was(hub: str, run: Path, part: Path, tmp_path: Path) -> None:
    """A first push through the command line, with a login instead of HF_TOKEN, to an organisation, in one commit."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "token").write_text("hf_write\n")
    done = run_cli("push", run, "lab/topics", "--private", HF_ENDPOINT=hub, HF_HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{hub}/datasets/lab/topics (commit ")
    assert 'load_dataset("lab/topics", split="train")' in done.stdout
    rows = [row for path in sorted(run.glob("data/*.parquet")) for row in pq.read_table(path).to_pylist()]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    client(
        """
        from datasets import get_dataset_config_names, load_dataset
        rows = json.loads((here / "rows.json").read_text())
        corpus = load_dataset("lab/topics", split="train")
        assert corpus.to_list() == rows and len(rows) == 5
        assert list(load_dataset("lab/topics", split="train", streaming=True)) == rows
        assert get_dataset_config_names("lab/topics") == ["default"]
        assert str(corpus.features["examples"].feature["pairs"].feature["response"].dtype) == "string"
        split = corpus.info.splits["train"]
        sizes = [path.stat().st_size for path in sorted(run.glob("data/*.parquet"))]
        assert (split.num_examples, corpus.info.download_size) == (5, sum(sizes))
        info = api.dataset_info("lab/topics")
        assert info.private and len(commits("lab/topics")) == 2, "the first commit is the Hub's own"
        assert {s.rfilename for s in info.siblings} == {".gitattributes", "README.md", "manifest.json",
            "data/train-00000.parquet", "data/train-00001.parquet", "data/train-00002.parquet",
            *(f"figures/{path.name}" for path in (run / "figures").iterdir())}
        assert text("lab/topics", "figures/funnel.svg") == (run / "figures/funnel.svg").read_bytes()
        assert b"](figures/funnel.svg)" in text("lab/topics")
        assert text("lab/topics", "manifest.json") == (run / "manifest.json").read_bytes()
        assert info.card_data.license == "other" and info.card_data["license_name"] == "psf"
        assert b'load_dataset("lab/topics", split="train")' in text("lab/topics")
        assert text("lab/topics").count(b"<!-- hub-instructpt:") == 3
        """,
        hub, run, part, tmp_path,
    )  # fmt: skip


def test_a_second_push_builds_on_what_is_there(hub: str, run: Path, part: Path, tmp_path: Path) -> None:
    client(
        """
        from datasets import load_dataset
        repo = "tester/growing"
        assert hub.push(part, repo).changed
        assert b"**Unfinished.**" in text(repo) and load_dataset(repo, split="train").num_rows == 4
        control("reset", {"only": ["requests"]})
        status, out, err = cli("push", part, repo)
        assert status == 0 and "nothing has changed since commit" in out, (out, err)
        assert len(commits(repo)) == 2
        assert not [r for r in control("requests") if r["method"] != "GET"], "an unchanged push only reads"

        control("reset", {"only": ["requests"]})
        assert hub.push(run, repo).changed
        sent = [r["path"] for r in control("requests") if r["method"] == "PUT"]
        assert len(sent) == 1, "what the repo holds is not sent again"
        assert b"Unfinished" not in text(repo) and load_dataset(repo, split="train").num_rows == 5

        import base64
        shard = {"base64": base64.b64encode((run / "data/train-00002.parquet").read_bytes()).decode()}

        # A person edits the card, adds a config and a file.
        page = text(repo).decode().replace("license_name: psf\\n", "")
        page = page.replace("license: other", "license: cc-by-4.0\\nmine: [no, 1]")
        extra = "configs:\\n- config_name: extra\\n  data_files: extra/*.parquet\\n"
        page = page.replace("configs:\\n", extra)
        page = page.replace("\\n---\\n\\n", "\\n---\\n\\nMy own words.\\n\\n---\\n\\n", 1) + "\\nAnd below.\\n"
        control("commit", {"repo": repo, "files": {"README.md": page, "extra/a.parquet": shard}})
        assert hub.push(part, repo).changed
        kept = text(repo).decode()
        mine = "mine:\\n- 'no'\\n- 1"
        for words in ("cc-by-4.0", "My own words.\\n\\n---\\n", "And below.", "config_name: extra", mine):
            assert words in kept, (words, kept)
        assert "psf" not in kept.split("\\n---\\n")[0]
        files = api.list_repo_files(repo, repo_type="dataset")
        assert "extra/a.parquet" in files and "data/train-00002.parquet" not in files
        assert load_dataset(repo, "default", split="train").num_rows == 4
        assert load_dataset(repo, "extra", split="train").num_rows == 1
        assert len(commits(repo)) == 5
        assert not hub.push(part, repo).changed
        """,
        hub, run, part, tmp_path,
    )  # fmt: skip


def test_a_card_in_the_run_directory_is_what_a_first_push_publishes(
    hub: str, run: Path, part: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    card = folder / "README.md"
    card.write_text(card.read_text("utf-8").replace(END, END + "\n\nWritten before.\n"), "utf-8")
    client(
        """
        hub.push(run, "tester/prose")
        assert text("tester/prose").endswith(b"Written before.\\n") and b'"tester/prose"' in text("tester/prose")
        # A shard that is sealed while the push is on its way is not named by the manifest that it uploads.
        work = pushing.Push(failures.new_api(), pushing.publication(part), "tester/moving")
        done = (run / "manifest.json").read_text()
        before = (part / "manifest.json").read_text()
        (part / "manifest.json").write_text(done)
        try:
            work.attempt()
        finally:
            (part / "manifest.json").write_text(before)
        assert len(json.loads(text("tester/moving", "manifest.json"))["shards"]) == 2
        # Neither a cache nor a folder for one is needed.
        assert os.environ["HF_HOME"].startswith("/dev/null")
        assert not hub.push(part, "tester/moving").changed
        """,
        hub, folder, part, tmp_path, HF_HOME="/dev/null/none",
    )  # fmt: skip


def test_faults_of_the_server_end_in_the_right_tree(hub: str, run: Path, part: Path, tmp_path: Path) -> None:
    """Each fault strikes once, at a fresh repo; the push goes through in one commit, and nothing is there twice."""
    client(
        """
        import logging
        logging.disable(logging.WARNING)  # the client's notes about its own retries
        failures.FIRST_WAIT_SECONDS, attempts.SILENCE_SECONDS = 0.02, 0.7
        faults = [{"match": "POST .*/commit/", "status": status} for status in (409, 412, 429, 500, 502, 503)]
        faults += [{"match": "POST .*/commit/", "status": status, "applied": True} for status in (500, 503)]
        faults += [{"match": "POST .*/commit/", "cut": cut} for cut in ("reply", "upload")]
        faults += [{"match": "POST .*/commit/", "delay_seconds": 1.5}]
        faults += [{"match": "POST .*/preupload/", "status": 429}, {"match": "POST .*/preupload/", "cut": "reply"}]
        faults += [{"match": "^PUT /_lfs/", "status": 503}, {"match": "^PUT /_lfs/", "cut": "upload"}]
        faults += [{"match": "POST .*/verify$", "status": 500}, {"match": "POST .*/objects/batch", "cut": "reply"}]
        faults += [{"match": "POST /api/validate-yaml", "status": 502}]
        faults += [{"match": "POST /api/repos/create", "status": 503}]
        faults += [{"match": "POST /api/repos/create", "cut": "reply"}]
        faults += [{"match": "GET /api/datasets/[^/]*/[^/]*$", "status": 503, "after": 1}]
        faults += [{"match": "GET /api/datasets/[^/]*/[^/]*$", "delay_seconds": 1.5}]
        want = None
        for number, fault in enumerate(faults):
            repo = f"tester/faulty-{number}"
            control("reset", {"only": ["faults"]})
            control("faults", fault)
            done = hub.push(run, repo)
            assert done.changed, fault
            assert len(commits(repo)) == 2, (fault, commits(repo))
            assert done.commit == api.dataset_info(repo).sha
            tree = {row.path: row.blob_id for row in api.list_repo_tree(repo, recursive=True, repo_type="dataset")
                    if hasattr(row, "blob_id") and row.path != "README.md"}
            want = want or tree
            assert tree == want, fault
        """,
        hub, run, part, tmp_path,
    )  # fmt: skip


def test_a_server_that_fails_for_good_ends_in_one_line(hub: str, run: Path, part: Path, tmp_path: Path) -> None:
    client(
        """
        import logging
        logging.disable(logging.WARNING)
        failures.FIRST_WAIT_SECONDS = 0.01
        control("faults", {"match": "/commit/", "status": 503, "times": None, "body": {"error": "down for today"}})
        status, out, err = cli("push", run, "tester/down")
        last = err.splitlines()[-1]
        assert status == 1 and "answered 503" in last and "Run the same command again" in last, err
        assert len([r for r in control("requests") if "/commit/" in r["path"]]) == attempts.TRIES
        assert len(commits("tester/down")) == 1
        sent = len([r for r in control("requests") if r["method"] == "PUT"])
        control("reset", {"only": ["faults"]})
        assert hub.push(run, "tester/down").changed and len(commits("tester/down")) == 2
        assert len([r for r in control("requests") if r["method"] == "PUT"]) == sent == 3, "sent once"
        """,
        hub, run, part, tmp_path,
    )  # fmt: skip


def test_a_commit_by_somebody_else_in_between_is_kept(hub: str, run: Path, part: Path, tmp_path: Path) -> None:
    client(
        """
        failures.FIRST_WAIT_SECONDS = 0.01
        repo, real, card = "tester/busy", HfApi.create_commit, []
        hub.push(part, repo)
        def late(self, *args, **kwargs):  # somebody commits after we have read, before we commit
            if not card:
                card.append(text(repo).decode() + "\\nTheirs.\\n")
                control("commit", {"repo": repo, "files": {"README.md": card[0], "NOTES.md": "theirs"}})
            return real(self, *args, **kwargs)
        HfApi.create_commit = late
        assert hub.push(run, repo).changed
        assert text(repo).endswith(b"\\nTheirs.\\n") and text(repo, "NOTES.md") == b"theirs"
        assert len(commits(repo)) == 4 and b"00002" in text(repo, "manifest.json")

        # Figures that our part of the card shows go when they are stale; those that a person shows stay.
        page = text(repo).decode()
        mark = page.index("<!-- hub-instructpt:end default -->")
        page = page[:mark] + "![old](figures/old.svg)\\n" + page[mark:] + "\\n![](figures/mine.svg)\\n\\nTheirs.\\n"
        drawn = {f"figures/{name}.svg": "<svg/>" for name in ("old", "mine", "unseen")}
        control("commit", {"repo": repo, "files": {"README.md": page, **drawn}})
        assert hub.push(run, repo).changed
        there = api.list_repo_files(repo, repo_type="dataset")
        assert [f"figures/{name}.svg" in there for name in ("old", "mine", "unseen")] == [False, True, True]

        # A card that can not be read at this moment is not a card that is not there.
        control("faults", {"match": "GET .*/README.md", "status": 503})
        assert hub.push(part, repo).changed and text(repo).endswith(b"\\nTheirs.\\n")
        control("faults", {"match": "GET .*/README.md", "cut": "reply"})
        assert hub.push(run, repo).changed and text(repo).endswith(b"\\nTheirs.\\n")

        # A broken card is a person's to mend; nothing is touched.
        half = "no begin: <!-- hub-instructpt: end of the generated part -->"
        for broken in ("---\\nlicense: [mit\\n---\\n# x", half):
            control("commit", {"repo": repo, "files": {"README.md": broken}})
            head = api.dataset_info(repo).sha
            refused(1, ["card", "README.md" if "mit" in broken else "comments"], part, repo)
            assert api.dataset_info(repo).sha == head
        """,
        hub, run, part, tmp_path,
    )  # fmt: skip


def test_refusals_are_one_line_with_the_next_thing_to_do(hub: str, run: Path, part: Path, tmp_path: Path) -> None:
    altered = tmp_path / "altered"
    shutil.copytree(run, altered)
    shard = altered / "data" / "train-00001.parquet"
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    empty = tmp_path / "empty"
    shutil.copytree(run, empty)
    manifest = Manifest.load(empty)
    manifest.shards = []
    manifest.save(empty)
    client(
        """
        refused(1, ["no token", "hf auth login", "HF_TOKEN"], run, "tester/x", HF_TOKEN="")
        refused(1, ["no valid token", "hf auth login"], run, "tester/x", HF_TOKEN="hf_SECRET")
        refused(1, ["no token", "hf auth login"], run, "tester/x", HF_TOKEN="hf_SECR\\u00c9T")
        refused(1, ["no token", "hf auth login"], run, "tester/x", HF_TOKEN="hf_SEC RET")
        refused(1, ["no right", "write token"], run, "tester/x", HF_TOKEN="hf_read")
        refused(1, ["no right", "another namespace"], run, "stranger/x")
        for wrong in ("x", "a b/c", "a/../b", "tester/x..y", "tester/x.git", "a/b/c", "", "tester/", "https://h.co/a/b",
                      "tester/" + "x" * 97, "a/b\\n"):
            refused(2, ["NAMESPACE/NAME"], run, wrong)
        assert not [r for r in control("requests") if r["method"] == "POST" and r["path"] != "/api/repos/create"]

        control("commit", {"repo": "tester/model", "type": "model", "files": {"config.json": "{}"}})
        refused(1, ["is a model", "another name"], run, "tester/model")
        for number, files in enumerate(({"data/x.parquet": "PAR1"}, {"corpus.jsonl": "{}"}, {"manifest.json": "{}"})):
            control("commit", {"repo": f"tester/foreign-{number}", "files": {"README.md": "hers", **files}})
            head = api.dataset_info(f"tester/foreign-{number}").sha
            refused(1, ["another dataset", "new repo"], run, f"tester/foreign-{number}")
            assert api.dataset_info(f"tester/foreign-{number}").sha == head
        licensed = {"README.md": "---\\nlicense: mit\\n---\\n", "LICENSE": "MIT"}
        control("commit", {"repo": "tester/fresh", "files": licensed})
        assert hub.push(run, "tester/fresh").changed and api.dataset_info("tester/fresh").card_data.license == "mit"
        control("commit", {"repo": "tester/fresh", "files": {"data/train-mine.parquet": "PAR1"}})
        refused(1, ["train-mine.parquet", "Remove it"], run, "tester/fresh")
        refused(1, ["public", "--private"], run, "tester/fresh", "--private")
        bad = "---\\nlanguage: ENGLISH\\n---\\n"
        control("commit", {"repo": "tester/bad", "files": {"README.md": bad}})
        refused(1, ["metadata of the card", "README.md"], run, "tester/bad")

        refused(2, ["holds no run"], here / "nothing", "tester/x")
        refused(2, ["train-00001.parquet", "not as it was sealed"], here / "altered", "tester/x")
        refused(2, ["no sealed shard", "augment"], here / "empty", "tester/x")
        """,
        hub, run, part, tmp_path,
    )  # fmt: skip


class _Page(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        body = b"<html><body>Welcome</body></html>"
        self.send_response(200 if self.path.startswith("/ok") else 404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def web_page() -> Iterator[str]:
    """A web server that is no Hub."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_no_hub_at_all_is_said_within_seconds(run: Path, web_page: str, hub: str) -> None:
    for env, said in (
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "does not answer"),
        ({"HF_ENDPOINT": f"{web_page}/ok"}, "not as a Hub does"),
        ({"HF_ENDPOINT": web_page}, "HF_ENDPOINT"),
        ({"HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set. Unset it"),
    ):
        done = run_cli("push", run, "tester/x", HF_TOKEN="hf_SECRET", timeout=40, **env)
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1, done.stderr
        assert done.stderr.startswith("hub-instructpt: Can not push to tester/x") or "answers, but" in done.stderr
        assert said in done.stderr
    # A request of an earlier test may be written down late, when it was given up in the middle.
    assert [seen for seen in ask(hub, "/_double/requests").json if "tester/x" in seen["path"]] == []


def test_a_traceback_shows_no_token(run: Path, hub: str) -> None:
    done = run_cli("--debug", "push", run, "tester/x", HF_ENDPOINT=hub, HF_TOKEN="hf_SECRET")
    assert "Traceback" in done.stderr
    assert "HubError" in done.stderr
    assert "SECRET" not in done.stdout + done.stderr
