"""The wheel, built and installed somewhere else, does the main job there.

Held here: what lies in the wheel and nothing besides; the command works in another environment and folder, with the
checkout out of sight; an installed package finds its cards, templates and tiny synthesizer.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, environment, topics, write_jsonl
from tests.doubles.process import running


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        capture_output=True, check=True, env=environment(),
    )  # fmt: skip
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment that has the wheel and, from here, only what it depends on."""
    home = tmp_path_factory.mktemp("env")
    venv.create(home, with_pip=False, symlinks=True)
    own = Path(sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)}))
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", home / "bin" / "python", "install", "--no-deps", "--no-index",
         "--quiet", "--disable-pip-version-check", wheel],
        check=True, capture_output=True, env=environment(),
    )  # fmt: skip
    # A plain path of a .pth file adds what is installed there, and not the .pth files in it: so no editable install.
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin"


@pytest.fixture(scope="module")
def instant() -> Iterator[str]:
    with running("tests.doubles.tgi", "--instant") as url:
        yield url


def listed(folder: str) -> set[str]:
    """Files of the checkout below a folder, as they are called there."""
    files = (path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(ROOT)) for path in files}


def test_the_wheel_holds_the_package_its_knowledge_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        [metadata] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        told = archive.read(metadata).decode()
        programs = archive.read(metadata.replace("METADATA", "entry_points.txt")).decode()
    beside = listed("cards") | listed("dataset_scripts")
    assert names == listed("hub_instructpt") | {f"hub_instructpt/_share/{name}" for name in beside}
    for name in ("py.typed", "tiny_synthesizer/model.safetensors", "_share/cards/corpus.md.jinja"):
        assert f"hub_instructpt/{name}" in names
    assert any(name.startswith("hub_instructpt/templates/") for name in names)
    assert "License-Expression: Apache-2.0" in told
    assert "Requires-Python: >=3.11" in told
    assert "hub-instructpt = hub_instructpt.cli:main" in programs
    assert "hf-instructpt = hub_instructpt.cli:extension" in programs
    assert wheel.stat().st_size < 20_000_000


def test_the_installed_command_does_the_main_job_from_another_folder(
    installed: Path, instant: str, tmp_path: Path
) -> None:
    def ask(program: str, *arguments: str) -> str:
        done = subprocess.run(
            [installed / program, *arguments],
            cwd=tmp_path, capture_output=True, text=True, env=environment(PYTHONPATH=""), check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    place = ask("python", "-c", "import hub_instructpt, sys; print(hub_instructpt.__file__, *sys.path)")
    assert str(installed.parent) in place.split()[0]
    assert str(ROOT) not in place.split()
    version = ask("python", "-c", "import hub_instructpt; print(hub_instructpt.__version__)")
    assert ask("hub-instructpt", "--version") == f"hub-instructpt {version}"
    write_jsonl(tmp_path / "corpus.jsonl", topics(3, 200))
    assert "3 rows" in ask("hub-instructpt", "augment", "corpus.jsonl", "--engine", instant, "--out", "out")
    card = (tmp_path / "out/README.md").read_text()
    (tmp_path / "out/README.md").unlink()
    assert ask("hub-instructpt", "card", "out") == "out/README.md"
    assert (tmp_path / "out/README.md").read_text() == card
    assert "squad " in ask("hub-instructpt", "collect", "--list")
    found = ask(
        "python", "-c",
        "from hub_instructpt.resources import find; print(find('cards'), find('dataset_scripts'));"
        "from hub_instructpt.engines import open_engine; import asyncio;"
        "print(asyncio.run(open_engine('local').connect()).model_id)",
    )  # fmt: skip
    assert str(ROOT / "cards") not in found
    assert found.endswith("tiny-synthesizer")


def test_the_command_line_of_the_hub_runs_it_as_an_extension(installed: Path, tmp_path: Path) -> None:
    """As `hf extensions install` leaves it, which would fetch the package from GitHub: a program and a manifest."""
    program = Path(sys.executable).parent / "hf"
    extension = tmp_path / ".local/share/hf/extensions/hf-instructpt"
    extension.mkdir(parents=True)
    manifest = {
        "owner": "someone", "repo": "hf-instructpt", "repo_id": "someone/hf-instructpt", "short_name": "instructpt",
        "executable_path": str(installed / "hf-instructpt"), "type": "python",
        "installed_at": "2026-11-21T00:00:00+00:00", "description": "Training data", "commit_sha": None,
    }  # fmt: skip
    (extension / "manifest.json").write_text(json.dumps(manifest))
    env = environment(PYTHONPATH="", HOME=str(tmp_path), HF_HUB_DISABLE_UPDATE_CHECK="1")

    def hf(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, *arguments], capture_output=True, text=True, env=env, cwd=tmp_path, check=False, timeout=60
        )

    assert "instructpt" in hf("--help").stdout
    told = hf("instructpt", "push", "--help")
    assert told.returncode == 0, told.stderr
    assert "Usage: hf instructpt push [OPTIONS]" in told.stdout
    failed = hf("instructpt", "status", "nothing")
    assert failed.returncode == 2
    assert failed.stderr.startswith("hub-instructpt: nothing holds no run")
