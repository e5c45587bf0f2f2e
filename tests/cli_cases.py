"""Many commands in one process of their own: the same entry point, at the price of one start of Python.

Keeps true: each command has its own stdout, stderr and status, and an error that escapes is an error here.
Does not know: signals, terminals and pipes, for which a command needs a process to itself.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

from tests.conftest import environment

CODE = """
import contextlib, io, json, sys
from hub_instructpt.cli import main
results = []
for arguments in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(arguments)
            status = 0
        except SystemExit as error:
            status = error.code or 0
    results.append([status, out.getvalue(), err.getvalue()])
print(json.dumps(results))
"""


def cases(commands: Sequence[Sequence[object]], **env: str) -> list[tuple[int, str, str]]:
    """Status, stdout and stderr of each command."""
    given = json.dumps([[str(argument) for argument in command] for command in commands])
    done = subprocess.run(
        [sys.executable, "-c", CODE, given],
        capture_output=True, text=True, env=environment(COLUMNS="200", **env), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [(status, out, err) for status, out, err in json.loads(done.stdout)]
