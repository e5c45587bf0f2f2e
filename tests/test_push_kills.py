"""Pushes that are killed at any moment, and pushers that meet: the tree ends as it must, and what had arrived is not
sent again.

Real processes with the real huggingface_hub are killed outright; the double of the Hub is slowed down so that kills
land between, and in the middle of, every kind of request.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import environment
from tests.doubles.plain_http import ask
from tests.push_cases import make_part, make_run

pytestmark = pytest.mark.xdist_group("push")

# One process that forks a pusher for each line on its standard input, so that a push costs no imports; the child stands
# where a freshly started command line would. It tells the child's number, and with `wait` how it ended.
FORKER = """
import os, sys
import huggingface_hub, datasets
from hub_instructpt import hub
from hub_instructpt.hub import failures, uploads
from hub_instructpt.cli import main
failures.FIRST_WAIT_SECONDS, uploads.FILES_AT_ONCE = 0.02, 2
print("ready", flush=True)
for line in sys.stdin:
    words = line.split()
    if words[0] == "wait":
        print(os.waitstatus_to_exitcode(os.waitpid(int(words[1]), 0)[1]), flush=True)
        continue
    child = os.fork()
    if not child:
        status = 1
        try:
            main(words)
            status = 0
        except SystemExit as end:
            status = end.code or 0
        finally:
            sys.stdout.flush()
            os._exit(status)
    print(f"child {child}", flush=True)
"""


class Pushers:
    """Starts pushers, and kills them."""

    def __init__(self, hub: str, home: Path) -> None:
        settings = {"HF_ENDPOINT": hub, "HF_TOKEN": "hf_write", "HF_HOME": str(home)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", FORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, env=environment(**settings, HF_HUB_DISABLE_PROGRESS_BARS="1"),
        )  # fmt: skip
        assert self._line() == "ready"

    def _line(self, beginning: str = "") -> str:
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            if line.startswith(beginning):
                return line.strip()
        raise AssertionError("the pushers are gone")

    def _tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def start(self, *arguments: object) -> int:
        self._tell(" ".join(map(str, arguments)))
        return int(self._line("child").split()[1])

    def end(self, child: int) -> int:
        """Wait for one; its exit status, negative for a signal."""
        self._tell(f"wait {child}")
        while not (line := self._line()).lstrip("-").isdigit():
            pass  # what the child has said
        return int(line)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of seven shards."""
    return make_run(tmp_path_factory.mktemp("run"), rows=13)


def tree(hub: str, repo: str) -> dict[str, str]:
    found = ask(hub, f"/api/datasets/{repo}/tree/main?recursive=true").json
    return {each["path"]: each["oid"] for each in found if each["type"] == "file"}


def seen(hub: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ask(hub, "/_double/requests").json
    return found


def arrived(hub: str, repo: str) -> Counter[str]:
    """How often each large file came in whole."""
    return Counter(
        each["path"]
        for each in seen(hub)
        if each["method"] == "PUT" and each["status"] == 200 and f"/{repo}/" in each["path"]
    )


def test_a_push_killed_at_any_request_and_begun_again_ends_in_the_same_tree(
    hub: str, run: Path, tmp_path: Path
) -> None:
    pushers = Pushers(hub, tmp_path / "home")
    try:
        assert pushers.end(pushers.start("push", run, "tester/whole")) == 0
        want = {path: oid for path, oid in tree(hub, "tester/whole").items() if path != "README.md"}
        number = len([each for each in seen(hub) if "tester/whole" in each["path"]])
        assert number > 15
        ask(hub, "/_double/faults", {"match": "tester/", "delay_seconds": 0.03, "times": None})
        killed = 0
        for moment in range(0, number, 3):
            repo = f"tester/killed-{moment}"
            ask(hub, "/_double/reset", {"only": ["requests"]})
            child = pushers.start("push", run, repo)
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline and len([each for each in seen(hub) if repo in each["path"]]) < moment:
                time.sleep(0.002)
            os.kill(child, signal.SIGKILL)
            killed += pushers.end(child) == -signal.SIGKILL
            time.sleep(0.1)  # a request that is on its way still arrives
            before = arrived(hub, repo)
            assert pushers.end(pushers.start("push", run, repo)) == 0
            there = tree(hub, repo)
            assert {path: oid for path, oid in there.items() if path != "README.md"} == want
            assert "README.md" in there
            again = arrived(hub, repo) - before
            assert not again.keys() & before.keys(), "what had arrived was sent again"
            assert set(arrived(hub, repo).values()) == {1}
            titles = [each["title"] for each in ask(hub, f"/api/datasets/{repo}/commits/main").json]
            assert len(titles) == 2, titles
        assert killed >= 5
    finally:
        pushers.close()


def test_two_pushers_at_once_end_in_one_whole_state(hub: str, run: Path, tmp_path: Path) -> None:
    """Of one run, of two states of it, and of two configs: never a mix, and never a config lost."""
    part = make_part(run, tmp_path / "part")
    pushers = Pushers(hub, tmp_path / "home")
    try:
        ask(hub, "/_double/faults", {"match": "tester/", "delay_seconds": 0.02, "times": None})
        for turn in range(3):
            same, states, configs = (f"tester/{word}-{turn}" for word in ("same", "states", "configs"))
            children = [
                pushers.start("push", run, same), pushers.start("push", run, same),
                pushers.start("push", run, states), pushers.start("push", part, states),
                pushers.start("push", run, configs, "--config-name", "one"),
                pushers.start("push", part, configs, "--config-name", "two"),
            ]  # fmt: skip
            assert [pushers.end(child) for child in children] == [0] * 6
            assert len([path for path in tree(hub, same) if path.endswith(".parquet")]) == 7
            assert len(ask(hub, f"/api/datasets/{same}/commits/main").json) == 2

            shards = sorted(path for path in tree(hub, states) if path.endswith(".parquet"))
            manifest = ask(hub, f"/datasets/{states}/resolve/main/manifest.json").json
            assert shards == [each["path"] for each in manifest["shards"]]
            assert len(shards) in (6, 7)

            files = tree(hub, configs)
            assert {"one/manifest.json", "two/manifest.json"} <= files.keys()
            assert len([path for path in files if path.endswith(".parquet")]) == 13
            card = ask(hub, f"/datasets/{configs}/resolve/main/README.md").text
            assert card.count("- config_name: one\n  data_files") == card.count("- config_name: two\n  data_files") == 1
    finally:
        pushers.close()
