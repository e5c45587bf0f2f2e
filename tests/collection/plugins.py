"""Datasets of another package, as a user would add them: a module and an entry point, installed in a folder.

Keeps true: the folder is all of it; who puts it on PYTHONPATH has the datasets.
"""

from __future__ import annotations

from pathlib import Path

from tests.conftest import ROOT

TEMPLATE = (ROOT / "dataset_scripts" / "_template.py").read_text("utf-8")


def installed(folder: Path, **modules: str) -> str:
    """Install a package with a dataset per module, under the module's name; gives the PYTHONPATH that has it."""
    home = folder / "site"
    info = home / "some_datasets-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-datasets\nVersion: 1.0\n")
    points = "".join(f"{name} = some_{name}:SOURCE\n" for name in modules)
    (info / "entry_points.txt").write_text(f"[hub_instructpt.sources]\n{points}")
    for name, code in modules.items():
        (home / f"some_{name}.py").write_text(code, "utf-8")
    return f"{home}:{ROOT}"


def dataset(name: str, changes: dict[str, str] | None = None) -> str:
    """The template as the code of a dataset; `changes` replace one piece of it by another."""
    code = TEMPLATE.replace('name="my_dataset"', f'name="{name}"').replace(
        '"rc_name": "my_dataset"', f'"rc_name": "{name}"'
    )
    for old, new in (changes or {}).items():
        assert old in code, old
        code = code.replace(old, new)
    return code
