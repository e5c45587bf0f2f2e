"""The README is run: its Python examples work as they stand, against a server that is there.

Only the address of the server is replaced. Shell examples name commands and options that exist.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, environment, run_cli, topics, write_jsonl

README = (ROOT / "README.md").read_text("utf-8")
PYTHON = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
SHELL = re.findall(r"^```sh\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def test_there_are_examples() -> None:
    assert len(PYTHON) >= 2
    assert len(SHELL) >= 2


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_a_python_example_runs_and_shows_what_it_says(number: int, tgi: str, tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    write_jsonl(tmp_path / "demo" / "topics.jsonl", topics(6, 200))
    lines = PYTHON[number].replace("http://127.0.0.1:8080", tgi).splitlines()
    said: list[tuple[str, str]] = []
    for at, line in enumerate(lines):
        if line.startswith("# ") and at and not lines[at - 1].startswith("#"):
            said.append((lines[at - 1], line.removeprefix("# ")))
    checks = [f"assert ({expression}) == {value}" for expression, value in said]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join([*lines, *checks])],
        capture_output=True, text=True, timeout=120, cwd=tmp_path, env=environment(PYTHONPATH=str(ROOT)), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_shell_examples_name_commands_and_options_that_exist() -> None:
    helps: dict[str, str] = {}
    for block in SHELL:
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] != ["hub-instructpt"]:
                continue
            command = " ".join(words[1 : 3 if words[1] == "collection" else 2])
            if command not in helps:
                shown = run_cli(*command.split(), "--help", COLUMNS="200")
                assert shown.returncode == 0, command
                helps[command] = shown.stdout
            for option in (word for word in words if word.startswith("--")):
                assert option in helps[command], f"{command} {option}"
