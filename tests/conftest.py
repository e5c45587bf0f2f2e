"""What many tests need: servers, a command line in a process of its own, and real text.

Keeps true: nothing outside of temporary folders is touched, no test reaches a network beyond this machine, and tests
run in any order. The Hub's client reads its settings when it is imported, so they are set here, before that.
"""

from __future__ import annotations

import json
import os
import pydoc_data.topics
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
DATA = ROOT.parent / "shared" / "data"

_HOME = tempfile.mkdtemp(prefix="hub-instructpt-tests-")
_OURS = ("HF_", "HUGGING_FACE_", "HUB_INSTRUCTPT_", "TRANSFORMERS_")
for _name in [name for name in os.environ if name.startswith(_OURS)]:
    del os.environ[_name]
os.environ |= {
    "HF_HOME": _HOME,
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_XET": "1",
    "HF_ENDPOINT": "http://127.0.0.1:9",  # nothing listens there: a test that needs a Hub starts its double
    "TGI_DOUBLE_CACHE": str(Path(_HOME) / "completions"),
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",
    "NO_PROXY": "*",
}

# In the background of a shell SIGINT is ignored, and whatever a test starts inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

from tests.doubles.plain_http import ask  # noqa: E402
from tests.doubles.process import running  # noqa: E402


def pytest_unconfigure() -> None:
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(autouse=True)
def kept_answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of kept answers for this test alone: what another test was answered must be asked again."""
    with tempfile.TemporaryDirectory(dir=_HOME, ignore_cleanup_errors=True) as assets:
        monkeypatch.setenv("HF_ASSETS_CACHE", assets)
        yield Path(assets) / "hub-instructpt" / "answers"


@pytest.fixture(scope="session")
def tgi_server() -> Iterator[str]:
    """URL of a TGI double whose completions come from the tiny synthesizer."""
    with running("tests.doubles.tgi") as url:
        yield url


@pytest.fixture
def tgi(tgi_server: str) -> Iterator[str]:
    """The TGI double, with clean counters and no faults."""
    ask(tgi_server, "/_double/reset", {})
    yield tgi_server
    ask(tgi_server, "/_double/reset", {})


@pytest.fixture(scope="session")
def hub_server() -> Iterator[str]:
    """URL of a double of the Hub."""
    with running("tests.doubles.hub") as url:
        yield url


@pytest.fixture
def hub(hub_server: str) -> str:
    """The double of the Hub, empty."""
    ask(hub_server, "/_double/reset", {})
    return hub_server


def environment(**changes: str) -> dict[str, str]:
    """The environment of a child process, with some changes."""
    return {**os.environ, **changes}


def run_cli(*arguments: object, timeout: float = 120, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `hub-instructpt` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "hub_instructpt", *map(str, arguments)],
        capture_output=True, text=True, timeout=timeout, env=environment(**env), check=False,
    )  # fmt: skip


def topics(number: int, characters: int = 400) -> list[dict[str, str]]:
    """Rows of real text that every machine has: beginnings of CPython's language reference."""
    chosen = sorted(pydoc_data.topics.topics.items())[:number]
    return [{"title": title, "text": text.strip()[:characters]} for title, text in chosen]


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows as JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture
def corpus(tmp_path: Path) -> Callable[..., Path]:
    """Makes a JSON Lines file of `topics(number, characters)`."""
    return lambda number=12, characters=400: write_jsonl(tmp_path / "corpus.jsonl", topics(number, characters))


needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="real source data (../shared/data) are not here")
