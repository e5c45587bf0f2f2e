"""Every count of the package has words for people."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hub_instructpt import cards
from tests.conftest import ROOT


def reasons() -> Iterator[str]:
    """Names that the package counts by, as they stand in its source."""
    patterns = (
        r'\bdropped\["(\w+)"\]', r'counts\["(?:pairs_dropped|texts_without_pairs|contexts)/(\w+)"\]',
        r'why = "(\w+)" if', r'else "(no_\w+)"', r'"rows/(repaired\w+)"', r'return "(null|empty|not_a_string)"',
    )  # fmt: skip
    failures = (
        r'\breason=f?"(\w+?)(?:\{|")', r'\breason="\w+" if \w+ else "(\w+)"',
        r'\bTrouble\(\s*"\w+",\s*f?"(\w+?)(?:\{|")',
    )  # fmt: skip
    package = ROOT / "hub_instructpt"
    rooms = [package / "markup.py", package / "synthesis.py"]
    for path in [*rooms, *sorted((package / "runs").glob("*.py")), *sorted((package / "engines").glob("*.py"))]:
        source = path.read_text("utf-8")
        for pattern in patterns:
            yield from re.findall(pattern, source)
        for pattern in failures:
            for found in re.findall(pattern, source):
                yield f"failed_{found}" + ("X" if found.endswith("_") else "")
    yield from ("stop", "length", "unknown")


def test_every_count_has_words() -> None:
    found, known = set(reasons()), cards.knowledge("words.yaml")
    assert {"malformed", "unfinished", "no_pair_parsed", "failed_timeout", "failed_status_X", "null"} <= found
    lacking = sorted(name for name in found if cards.words(name) == name.replace("_", " ") and name not in known)
    assert not lacking


def test_words_with_an_open_end() -> None:
    assert cards.words("failed_status_503") == "the server answered 503"
    assert cards.words("failed_status_429") == "the server was full (429)"
    assert cards.words("failed_local_OutOfMemoryError") == "the model failed (OutOfMemoryError)"
    assert cards.words("never_heard_of") == "never heard of"
