"""The older huggingface-hub, which text-generation brings, pushes, verifies and gathers as the newest does."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from tests.conftest import run_cli
from tests.doubles.plain_http import ask
from tests.push_cases import make_run

pytestmark = pytest.mark.skipif(
    not version("huggingface_hub").startswith("0."), reason="only in the environment of the text-generation extra"
)


def test_a_run_is_pushed_verified_and_gathered(hub: str, tmp_path: Path) -> None:
    run = make_run(tmp_path)
    settings = {"HF_ENDPOINT": hub, "HF_TOKEN": "hf_write", "HF_HOME": str(tmp_path / "home")}
    for arguments, said in (
        (("push", run, "tester/old"), "(commit "),
        (("push", run, "tester/old"), "nothing has changed"),
        (("push", run, "tester/old", "--config-name", "medicine"), '"tester/old", "medicine"'),
        (("push", run, "tester/old", "--revision", "v1"), 'revision="v1"'),
        (("verify", "tester/old"), "10 rows"),
        (("collection", "create", "Old", "--add", "tester/old=A note"), "card of tester/old linked"),
    ):
        done = run_cli(*arguments, **settings)
        assert done.returncode == 0, done.stderr
        assert said in done.stdout
    ask(hub, "/_double/faults", {"match": "POST .*/commit/", "status": 412})
    assert run_cli("push", run, "tester/again", **settings).returncode == 0
