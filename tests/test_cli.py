"""The command line as a person or a batch system meets it: what is printed where, and the exit status.

Held here: help, wrong use, one-line errors and --debug, the bar in a log and on a terminal, pipes that close, what ends
in a manifest and a card, and what importing costs. What the commands do is held by the tests of the rooms below.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import shlex
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli_cases import cases
from tests.conftest import ROOT, environment, run_cli, topics, write_jsonl
from tests.doubles.process import running

COMMANDS = ["augment", "status", "card", "push"]


@pytest.fixture(scope="module")
def instant() -> Iterator[str]:
    """A TGI double without a model: what is held here is what is said, not what is generated."""
    with running("tests.doubles.tgi", "--instant") as url:
        yield url


@pytest.fixture(scope="module")
def finished(instant: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A finished run, and what its command said."""
    folder = tmp_path_factory.mktemp("finished")
    path = write_jsonl(folder / "corpus.jsonl", [*topics(6), {"title": "none", "text": None}])
    address = instant.replace("http://", "http://someone:secret@")
    done = run_cli(
        "augment", path, f"--engine={address}", "--out", folder / "out", "--rows-per-shard", "4",
        "--keep-column", "title", "--license", "apache-2.0",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "out", done


def test_help_names_every_command_and_every_option_has_words() -> None:
    pages = cases([["--help"], *([command, "--help"] for command in COMMANDS), ["--version"]])
    assert [status for status, _, _ in pages] == [0] * len(pages)
    for command in COMMANDS:
        assert command in pages[0][1]
    options = {"--engine", "--out", "--config", "--split", "--text-column", "--num-shots", "--max-new-tokens",
               "--rows-per-shard", "--keep-column", "--limit", "--seed"}  # fmt: skip
    assert options <= set(re.findall(r"--[a-z-]+", pages[1][1]))
    assert re.fullmatch(r"hub-instructpt \d+\.\d+\.\d+\S*\n", pages[-1][1])


def test_wrong_use_is_status_2_and_names_what_is_wrong(tmp_path: Path) -> None:
    path = str(write_jsonl(tmp_path / "c.jsonl", topics(1)))
    out = str(tmp_path / "out")
    engine = ["--engine", "http://127.0.0.1:9"]
    wrong: list[tuple[list[str], str]] = [
        (["--nonsense"], "--nonsense"),
        (["nonsense"], "nonsense"),
        (["augment"], "SOURCE"),
        (["augment", path], "--out"),
        (["augment", path, "--out", out, "--nonsense"], "--nonsense"),
        (["augment", path, "--out", out, "--engine", "nonsense"], "'nonsense' names no engine"),
        (["augment", path, "--out", out, "--engine", "http://"], "http://host:port"),
        (["augment", path, "--out", out, *engine, *engine], "named twice"),
        (["augment", path, "--out", out, *engine, "--limit", "0"], "--limit"),
        (["augment", path, "--out", out, *engine, "--rows-per-shard", "x"], "--rows-per-shard"),
        (["augment", path, "--out", out, *engine, "--temperature", "9"], "temperature"),
        (["augment", path, "--out", out, *engine, "--temperature", "nan"], "temperature"),
        (["augment", path, "--out", out, *engine, "--top-p", "0"], "top_p"),
        (["augment", path, "--out", out, *engine, "--timeout", "0"], "timeout"),
        (["augment", path, "--out", out, *engine, "--max-failed-share", "2"], "max_failed_share"),
        (["augment", path, "--out", out, *engine, "--keep-column", "context"], "--keep-column context"),
        (["augment", path, "--out", out, *engine, *["--keep-column", "title"] * 2], "--keep-column title"),
        (["augment", path, "--out", out, *engine, "--text-column", "body"], "no column 'body'"),
        (["augment", str(tmp_path / "none.jsonl"), "--out", out, *engine], "There is no file"),
        (["augment", str(tmp_path), "--out", str(tmp_path), *engine], "--out"),
        (["augment", path, "--out", path, *engine], "can not be used"),
        (["status", str(tmp_path / "none")], "holds no run"),
        (["status", path], "holds no run"),
        (["card", str(tmp_path)], "holds no run"),
        (["push", str(tmp_path), "lab/name"], "holds no run"),
        (["push", str(tmp_path), "no repo id"], "no repo id"),
    ]
    for (arguments, words), (status, out_text, err) in zip(wrong, cases([case for case, _ in wrong]), strict=True):
        assert status == 2, (arguments, err)
        assert words in " ".join(err.split()), (arguments, err)
        assert out_text == "", arguments
        assert "Traceback" not in err, arguments
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_traceback_is_shown_with_debug_only(tmp_path: Path) -> None:
    plain = run_cli("status", tmp_path)
    debug = run_cli("--debug", "status", tmp_path)
    assert len(plain.stderr.splitlines()) == 1
    assert plain.stderr.startswith("hub-instructpt: ")
    assert "Traceback" in debug.stderr
    assert "RunDirectoryError" in debug.stderr


def test_the_bar_goes_to_stderr_and_the_result_to_stdout(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    out, done = finished
    assert "Augmenting" not in done.stdout
    assert "\r" not in done.stderr
    bar = [line for line in done.stderr.splitlines() if line.startswith("Augmenting")]
    assert 2 <= len(bar) <= 5
    assert "7/7" in bar[-1]
    assert "One augmented text" in done.stdout
    assert f"7 rows, 12 instruction-response pairs, 2 shards in {out}" in done.stdout
    assert "hub-instructpt push" in done.stdout
    assert "1 rows had no usable text and 0 texts failed" in done.stderr
    assert "No engine was named" not in done.stderr


def test_manifest_and_card_name_no_path_no_address_and_no_password(
    finished: tuple[Path, subprocess.CompletedProcess[str]], instant: str
) -> None:
    out, done = finished
    for text in ((out / "manifest.json").read_text(), (out / "README.md").read_text(), done.stderr):
        for secret in ("secret", "someone", "/home", instant.removeprefix("http://")):
            assert secret not in text
        assert str(out.parent) not in text.replace(f"{out}/ledger", "")
    command = json.loads((out / "manifest.json").read_text())["command"]
    assert command == (
        "hub-instructpt augment corpus.jsonl --engine=http://HOST:PORT --rows-per-shard 4 --keep-column title "
        "--license apache-2.0 --out DIR"
    )
    assert "license: apache-2.0" in (out / "README.md").read_text()


@pytest.mark.parametrize(
    ("given", "published"),
    [
        ("augment --out /x/y /d/c.jsonl --debug", "augment c.jsonl"),
        ("augment --out=/x/y ../d/c.jsonl", "augment c.jsonl"),
        ("augment d/c.jsonl --out o --engine local:/models/m", "augment d/c.jsonl --engine local:m"),
        ("augment lab/c --out lab/c --engine local:lab/m", "augment lab/c --engine local:lab/m"),
        ("augment lab/c --engine tgi+https://u:p@h:1/x --out o", "augment lab/c --engine tgi+https://HOST:PORT"),
        ("augment --text-column --out --out o c.csv", "augment --text-column --out c.csv"),
        ("augment --worker 1/8 c.csv --out o", "augment c.csv"),
    ],
)
def test_the_published_command_can_be_typed_by_others(given: str, published: str) -> None:
    from hub_instructpt.cli.published import published_command

    arguments = shlex.split(given)
    source = next(a for a in arguments if a.startswith(("/d", "../d", "d/", "lab/c", "c.csv")))
    assert published_command(source, arguments) == f"hub-instructpt {published} --out DIR"


def test_status_and_card_say_how_far_a_run_is(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    out, _ = finished
    facts = json.loads(run_cli("status", out, "--json").stdout)
    assert facts["state"] == "finished"
    assert (facts["rows"], facts["total_rows"], facts["shards"], facts["pairs"]) == (7, 7, 2, 12)
    assert facts["counts"]["rows_rejected/null"] == 1
    told = run_cli("status", out).stdout
    for words in ("finished", "corpus.jsonl", "7 of 7 (100 %)", "rows left out"):
        assert words in told
    before = (out / "README.md").read_text()
    (out / "README.md").unlink()
    assert run_cli("card", out).stdout.strip() == str(out / "README.md")
    assert (out / "README.md").read_text() == before


def test_what_a_run_writes_is_never_its_own_source(instant: str, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "corpus.jsonl", topics(2))
    arguments = ["augment", str(tmp_path), "--engine", instant, "--out", str(tmp_path / "out")]
    for status, _, err in cases([arguments, arguments]):
        assert status == 0, err
    assert json.loads((tmp_path / "out/manifest.json").read_text())["source"]["name"] == "corpus.jsonl"


def test_without_an_engine_the_tiny_synthesizer_works_and_one_line_says_so(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "c.jsonl", topics(2, 200))
    done = run_cli("augment", path, "--out", tmp_path / "out", "--max-new-tokens", 24)
    assert done.returncode == 0, done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("No engine was named")]
    assert "--engine http://" in line
    assert "local:instruction-pretrain/instruction-synthesizer" in line
    assert "The same with a real engine" in done.stdout
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert (manifest["engine"]["kind"], manifest["finished"]) == ("local", True)


def test_on_a_terminal_the_bar_is_drawn_over_itself(instant: str, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "c.jsonl", topics(2))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "hub_instructpt", "augment", path, "--engine", instant, "--out", tmp_path / "out"],
        stdout=subprocess.DEVNULL, stderr=theirs, env=environment(),
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while select.select([ours], [], [], 60)[0]:
        try:
            block = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not block:
            break
        shown += block
    os.close(ours)
    assert process.wait(timeout=30) == 0
    assert b"\rAugmenting" in shown, shown


@pytest.mark.parametrize("streams", ["", "2>&1"])
def test_a_pipe_that_closes_early_shows_no_traceback(
    finished: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path, streams: str
) -> None:
    out, _ = finished
    command = f"{shlex.quote(sys.executable)} -m hub_instructpt status {shlex.quote(str(out))} {streams} | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment(), check=False)
    assert done.stderr == ""


def test_an_error_nobody_foresaw_is_one_line_too(
    finished: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    out, _ = finished
    code = (
        "import sys\nfrom hub_instructpt.cli import inspect, main\n"
        "def broken(*_): raise ZeroDivisionError('a text of the\\ncorpus')\n"
        "inspect._facts = broken\nmain(['status', *sys.argv[1:]])"
    )
    for flags, lines in (([], 1), (["--debug"], None)):
        done = subprocess.run(
            [sys.executable, "-c", code, str(out), *flags],
            capture_output=True, text=True, env=environment(), check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert "ZeroDivisionError" in done.stderr
        assert ("Traceback" in done.stderr) == (lines is None)
        assert lines is None or len(done.stderr.splitlines()) == lines


def test_importing_the_package_loads_none_of_the_heavy_ones() -> None:
    code = "import hub_instructpt, sys; print(sorted({'torch','transformers','ray','datasets'} & set(sys.modules)))"
    loaded: Callable[[str], str] = lambda first: subprocess.run(  # noqa: E731
        [sys.executable, "-c", first + code], capture_output=True, text=True, env=environment(), cwd=ROOT, check=True
    ).stdout.strip()
    assert loaded("") == "[]"
    assert loaded("from hub_instructpt import Augment, Render, format_prompt, parse_pairs; Augment('http://h:1');") in (
        "[]", "['datasets']",
    )  # fmt: skip
    assert loaded("import hub_instructpt.cli;") == "[]"
