"""A run that is pushed while it goes on: what is seen of it meanwhile, a kill in the middle, and a Hub that fails.

Held through the command line in processes of its own, the real huggingface_hub, and doubles of the Hub and of a server
over HTTP.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import environment, run_cli, topics, write_jsonl
from tests.doubles.plain_http import ask
from tests.doubles.process import running

pytestmark = pytest.mark.xdist_group("push")

# The command line, with less patience than it has towards the real Hub.
QUICK = """
from hub_instructpt.hub import attempts, failures, pushing_along
pushing_along.SECONDS_BETWEEN_COMMITS, failures.FIRST_WAIT_SECONDS = 0.0, 0.02
from hub_instructpt.cli import main
main()
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server of text that answers some twenty times a second."""
    with running("tests.doubles.tgi", "--instant", "--fixed-delay", "0.1", "--max-concurrent-requests", "2") as url:
        yield url


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_jsonl(tmp_path_factory.mktemp("corpus") / "corpus.jsonl", topics(40, 200))


def command(path: Path, server: str, out: Path, repo: str, *more: object) -> list[str]:
    options = [
        "augment", path, "--engine", server, "--out", out, "--rows-per-shard", 4, "--max-new-tokens", 40,
        "--push-to", repo, *more,
    ]  # fmt: skip
    return [sys.executable, "-c", QUICK, *map(str, options)]


def settings(hub: str, tmp_path: Path, token: str = "hf_write") -> dict[str, str]:
    home = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    return environment(HF_ENDPOINT=hub, HF_TOKEN=token, **home)


def finished(arguments: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, env=env, capture_output=True, text=True, timeout=120, check=False)


def tree(hub: str, repo: str) -> dict[str, str]:
    found = ask(hub, f"/api/datasets/{repo}/tree/main?recursive=true").json
    return {each["path"]: each["oid"] for each in found if each["type"] == "file"}


def text(hub: str, repo: str, name: str) -> str:
    return str(ask(hub, f"/datasets/{repo}/resolve/main/{name}").text)


def arrived(hub: str) -> Counter[str]:
    """How often each large file came in whole."""
    seen: list[dict[str, Any]] = ask(hub, "/_double/requests").json
    return Counter(each["path"] for each in seen if each["method"] == "PUT" and each["status"] == 200)


def titles(hub: str, repo: str) -> list[str]:
    return [each["title"] for each in ask(hub, f"/api/datasets/{repo}/commits/main").json]


def test_a_run_is_seen_while_it_goes_on_and_goes_on_after_a_kill(
    hub: str, server: str, path: Path, tmp_path: Path
) -> None:
    out, env = tmp_path / "run", settings(hub, tmp_path)
    arguments = command(path, server, out, "tester/along", "--commit-every", 2)
    process = subprocess.Popen(arguments, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        manifest = ask(hub, "/datasets/tester/along/resolve/main/manifest.json")
        if manifest.status == 200 and len(json.loads(manifest.text)["shards"]) >= 3:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it was not done before anything was seen"
    shown = json.loads(text(hub, "tester/along", "manifest.json"))
    assert not shown["finished"]
    assert {each["path"] for each in shown["shards"]} <= tree(hub, "tester/along").keys()
    card = text(hub, "tester/along", "README.md")
    assert re.search(rf"So far {shown['shards'][-1]['source_rows'][1]} rows of 40", card)

    done = finished(arguments, env)
    assert done.returncode == 0, done.stderr
    assert f"{hub}/datasets/tester/along (commit " in done.stdout
    assert "Publish it" not in done.stdout
    counted = arrived(hub)
    assert len(counted) == 10
    assert sum(counted.values()) <= 11, "what had arrived was sent again"
    assert "Unfinished" not in text(hub, "tester/along", "README.md")
    assert "--push-to" not in text(hub, "tester/along", "README.md")
    assert len(titles(hub, "tester/along")) >= 3

    once = run_cli("push", out, "tester/once", **env)
    assert once.returncode == 0, once.stderr
    mine, other = tree(hub, "tester/along"), tree(hub, "tester/once")
    assert {**mine, "README.md": ""} == {**other, "README.md": ""}
    again = finished(arguments, env)
    assert "nothing has changed" in again.stdout


def test_a_hub_that_fails_holds_nothing_up(hub: str, server: str, path: Path, tmp_path: Path) -> None:
    """Every upload fails while the run goes on; it ends whole all the same, says why, and `push` makes up for it."""
    ask(hub, "/_double/faults", [
        {"match": "objects/batch", "status": 403, "body": {"error": "read only today"}, "times": None},
    ])  # fmt: skip
    out, env = tmp_path / "run", settings(hub, tmp_path)
    arguments = command(path, server, out, "tester/down", "--commit-every", 1, "--limit", 20)
    done = finished(arguments, env)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert sum("The run goes on" in line for line in lines) == 1, done.stderr
    assert lines[-1].startswith("hub-instructpt: Can not push to tester/down: your token has no right to")
    assert json.loads((out / "manifest.json").read_text())["finished"]
    assert "manifest.json" not in tree(hub, "tester/down")
    ask(hub, "/_double/reset", {"only": ["faults"]})
    again = finished(arguments, env)
    assert again.returncode == 0, again.stderr
    assert len(arrived(hub)) == 5


@pytest.mark.parametrize(
    ("repo", "token", "said"),
    [
        ("stranger/x", "hf_write", "no right"),
        ("tester/x", "hf_read", "no right"),
        ("tester/x", "", "no token"),
        ("tester", "hf_write", "NAMESPACE/NAME"),
        ("tester/foreign", "hf_write", "another dataset"),
    ],
)
def test_what_can_not_be_pushed_is_said_before_anything_is_asked(
    hub: str, server: str, path: Path, tmp_path: Path, repo: str, token: str, said: str
) -> None:
    ask(server, "/_double/reset", {})
    ask(hub, "/_double/commit", {"repo": "tester/foreign", "files": {"rows.jsonl": "{}"}})
    out = tmp_path / "run"
    done = finished(command(path, server, out, repo), settings(hub, tmp_path, token))
    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert ask(server, "/_double/state").json["generate"] == 0
    assert not out.exists()


def test_a_run_that_fails_has_pushed_what_it_sealed(hub: str, server: str, tmp_path: Path) -> None:
    """Texts from the middle on are refused by the server; commits are far apart."""
    ask(server, "/_double/faults", {"kind": "poison", "match": "WRONG", "status": 422})
    rows = [{**row, "text": ("WRONG " if at >= 20 else "") + row["text"]} for at, row in enumerate(topics(40, 200))]
    out, env = tmp_path / "run", settings(hub, tmp_path)
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    failed = finished(command(path, server, out, "tester/failed"), env)
    ask(server, "/_double/reset", {})
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr
    shown = json.loads(text(hub, "tester/failed", "manifest.json"))
    assert 1 <= len(shown["shards"]) == len(list(out.glob("data/train-*.parquet")))
    assert not shown["finished"]


def test_workers_of_one_run_push_to_one_repo(hub: str, server: str, path: Path, tmp_path: Path) -> None:
    """Two pushers at once: each commit that comes between is built upon, and the last state is whole."""
    out, env = tmp_path / "run", settings(hub, tmp_path)
    shares = [command(path, server, out, "tester/shared", "--commit-every", 1, "--worker", f"{at}/2") for at in (0, 1)]
    workers = [subprocess.Popen(each, env=env, stdout=-1, stderr=-1, text=True) for each in shares]
    ends = [worker.communicate(timeout=120) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], ends
    shown = json.loads(text(hub, "tester/shared", "manifest.json"))
    files = tree(hub, "tester/shared")
    assert len(shown["shards"]) == 10
    assert {each["path"] for each in shown["shards"]} <= files.keys()
    assert json.loads((out / "manifest.json").read_text())["finished"]
    assert shown["finished"]
    checked = run_cli("push", out, "tester/shared", **env)
    assert "nothing has changed" in checked.stdout
