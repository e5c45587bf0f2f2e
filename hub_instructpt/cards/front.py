"""The metadata at the top of a card: YAML between two lines of dashes, read and written.

Keeps true: what is written here is read alike by YAML 1.1 (`datasets`) and 1.2 (the Hub), whatever text it holds; what
can not be read is an error that says where, and never taken for no metadata.
Does not know which keys there are.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from hub_instructpt.errors import CardError

MEND = "Mend README.md, or move it away."


class _Loader(yaml.SafeLoader):
    """YAML as the Hub reads it, which is 1.2: a bare `no` is Norwegian, and 12:30 is no number."""


class _Dumper(yaml.SafeDumper):
    """YAML that 1.1 (`datasets`) and 1.2 (the Hub) read alike: what either takes for no text gets quotes."""

    def ignore_aliases(self, data: Any) -> bool:
        return True  # the same object twice stands there twice


_PLAIN = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?(?:0|[1-9][0-9]*)|0o[0-7]+", "-+0123456789"),
    "float": (r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan", "-+.0123456789"),
}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in _PLAIN]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _name, (_pattern, _firsts) in _PLAIN.items():
    for _reader in (_Loader, _Dumper):
        _reader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), list(_firsts))


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # PyYAML reads these line breaks of YAML 1.1 back as they were only where it has escaped them.
    style = '"' if re.search("[\x85\u2028\u2029\ufeff]", text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def read_card(folder: Path) -> str | None:
    """The card in a directory, if there is one.

    Raises:
        CardError: it is not text.
    """
    path = folder / "README.md"
    return decode_card(path.read_bytes()) if path.exists() else None


def decode_card(content: bytes) -> str:
    """A card as text, without a byte order mark and with one kind of line end.

    Raises:
        CardError: it is not UTF-8.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CardError(f"The card is not UTF-8 (byte {error.start + 1}).", advice=MEND) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def split_card(card: str) -> tuple[dict[str, Any], str]:
    """Metadata and body of a card.

    Raises:
        CardError: the metadata are no YAML mapping.
    """
    begun = re.match(r"\s*---[ \t]*\n", card)
    if not begun:
        return {}, card
    ended = re.compile(r"^---[ \t]*(?:\n|\Z)", re.MULTILINE).search(card, begun.end())
    if not ended:
        raise CardError("The metadata of the card begin with '---' and never end.", advice=MEND)
    try:
        metadata = yaml.load(card[begun.end() : ended.start()], _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = "" if line is None else f" (line {line + card[: begun.end()].count(chr(10)) + 1})"
        raise CardError(f"The metadata of the card are not YAML{where}.", advice=MEND) from None
    if metadata is not None and not isinstance(metadata, dict):
        raise CardError("The metadata of the card are no mapping.", advice=MEND)
    return metadata or {}, card[ended.end() :]


def page(metadata: dict[str, Any], body: str) -> str:
    """A card of its metadata and its body."""
    front = yaml.dump(metadata, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return f"---\n{front}---\n\n{body.strip()}\n"
