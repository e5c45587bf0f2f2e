"""Runs to push, and a process with the real clients to push them from.

Keeps true: the process has the double of the Hub for its Hub, and fails by raising. Does not know what is asserted.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

from hub_instructpt.runs.manifest import Manifest
from tests.conftest import ROOT, environment, run_cli, topics, write_jsonl
from tests.doubles.process import running

PREAMBLE = """
import contextlib, io, json, os, sys, time, urllib.request
from pathlib import Path
from huggingface_hub import HfApi
from hub_instructpt import hub
from hub_instructpt.hub import attempts, failures, pushing
from hub_instructpt.cli import main
from hub_instructpt.errors import HubInstructPTError
api, url = HfApi(), os.environ["HF_ENDPOINT"]
run, part, here = (Path(argument) for argument in sys.argv[1:4])

def control(verb, body=None):
    request = urllib.request.Request(f"{url}/_double/{verb}", None if body is None else json.dumps(body).encode())
    return json.loads(urllib.request.urlopen(request).read())

def commits(repo):
    return [commit.title for commit in api.list_repo_commits(repo, repo_type="dataset")]

def text(repo, path="README.md"):
    address = f"{url}/datasets/{repo}/resolve/main/{path}"
    return urllib.request.urlopen(urllib.request.Request(address, headers={"Authorization": "Bearer hf_write"})).read()

def cli(*arguments, **env):
    before = dict(os.environ)
    os.environ.update(env)
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main([str(argument) for argument in arguments])
    except SystemExit as end:
        return end.code or 0, out.getvalue(), err.getvalue()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return 0, out.getvalue(), err.getvalue()

def refused(code, words, *arguments, **env):
    status, out, err = cli("push", *arguments, **env)
    assert (status, out) == (code, ""), (status, out, err)
    assert err.startswith("hub-instructpt: ") and err.count("\\n") == 1 and err.endswith(".\\n"), err
    assert all(word in err for word in words) and "hf_" not in err.replace("hf_write is", ""), err
"""


def make_run(folder: Path, *options: object, rows: int = 5, name: str = "topics") -> Path:
    """A finished run in `folder`: two rows a shard."""
    source = write_jsonl(folder / f"{name}.jsonl", topics(rows, 300))
    fixed = ("--rows-per-shard", 2, "--max-new-tokens", 60, "--out", folder / "run")
    with running("tests.doubles.tgi", "--instant") as url:
        done = run_cli("augment", source, "--engine", url, *fixed, *options)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def make_part(run: Path, folder: Path) -> Path:
    """The same run before its last shard was sealed."""
    shutil.copytree(run, folder)
    manifest = Manifest.load(folder)
    manifest.finished, manifest.shards = False, manifest.shards[:-1]
    manifest.save(folder)
    (folder / "README.md").unlink()
    return folder


def client(script: str, hub: str, run: Path, part: Path, tmp_path: Path, **env: str) -> str:
    """Run a script with the real clients in a fresh process; it fails by raising."""
    settings = {"HF_ENDPOINT": hub, "HF_TOKEN": "hf_write", "HF_HOME": str(tmp_path / "home")}
    settings |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1"} | env
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + textwrap.dedent(script), str(run), str(part), str(tmp_path)],
        env=environment(**settings), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
