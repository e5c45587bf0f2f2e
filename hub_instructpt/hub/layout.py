"""Where in a repo a directory goes: as the only config, or as one of several, each in a folder of its own.

    data/train-00000.parquet    manifest.json             the default config, as in the directory itself
    NAME/train-00000.parquet    NAME/manifest.json        the config NAME, as `datasets` lays it out
    data/00001/train-10000.parquet                        no folder holds more files than the Hub allows

Keeps true: it follows from the name of a file alone where it goes, so a corpus that grows moves nothing.
Does not know manifests.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from hub_instructpt.cards import FILES_IN_A_FOLDER
from hub_instructpt.errors import SettingsError
from hub_instructpt.runs.manifest import MANIFEST
from hub_instructpt.tuning.facts import FACTS

_TAKEN = ("data", "packed", "figures", "default", "links")
_NUMBERED = re.compile(r"(?P<folder>.*)/(?P<name>[^/]*?(?P<number>\d{5,})\.[a-z]+)")
_DEFAULT = re.compile(
    r"(data|packed)/(\d{5}/)?train-\d{5,}\.parquet"
    r"|[^/]+/(shard/\d{5,}\.jsonl|parquet/\d{5,}\.parquet|json/valid\.json|rejected\.jsonl)"
)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the files of a directory go. `config` is None for the default one; a model has none at all."""

    config: str | None = None
    of_model: bool = False

    @classmethod
    def named(cls, config: str | None) -> Layout:
        """The layout of a config that a person names.

        Raises:
            SettingsError: the name can not be that of a folder and of a config.
        """
        fits = config is None or re.fullmatch(r"[A-Za-z0-9]+([_.-]?[A-Za-z0-9]+)*", config, re.ASCII)
        if not fits or (config or "").lower() in _TAKEN or len(config or "") > 96:
            raise SettingsError(
                f"{(config or '')[:100]!r} can not be the name of a config.", advice="Give a word, such as medicine."
            )
        return cls(config)

    @property
    def manifest(self) -> str:
        """Where the manifest goes."""
        if self.of_model:
            return FACTS
        return f"{self.config}/{MANIFEST}" if self.config else MANIFEST

    @property
    def patterns(self) -> list[str]:
        """What is read as rows."""
        return [f"{self.config or 'data'}/train-*.parquet", f"{self.config or 'data'}/*/train-*.parquet"]

    def path(self, path: str) -> str:
        """Where a file of the directory goes."""
        if self.of_model:
            return path
        if self.config:
            path = f"{self.config}/{path.removeprefix('data/')}"
        found = _NUMBERED.fullmatch(path)
        if found and int(found["number"]) >= FILES_IN_A_FOLDER:
            return f"{found['folder']}/{int(found['number']) // FILES_IN_A_FOLDER:05d}/{found['name']}"
        return path

    def is_ours(self, path: str) -> bool:
        """Whether a file of a repo has the name of one that a push puts there, into this place."""
        if self.of_model:
            return False  # the files of a model have names that others use too: its record tells which were ours
        if self.config is None:
            return _DEFAULT.fullmatch(path) is not None
        return re.fullmatch(rf"{re.escape(self.config)}/(\d{{5}}/)?train-\d{{5,}}\.parquet", path) is not None

    def foreign(self, paths: Iterable[str]) -> list[str]:
        """What is in the way of a first push: files neither ours, nor of another config, nor such as all repos have."""
        there = list(paths)
        if self.config:
            return [path for path in there if path.startswith(f"{self.config}/")]
        known = (*(f"{config}/" for config in configs_in(there)), ".")
        return [path for path in there if not path.startswith(known) and not re.match(r"[^/]*\.md$|LICEN[SC]E", path)]


def configs_in(paths: Iterable[str]) -> list[str]:
    """Names of the configs, other than the default one, that have a folder of their own in a repo."""
    return sorted(path.partition("/")[0] for path in paths if path.count("/") == 1 and path.endswith(f"/{MANIFEST}"))
