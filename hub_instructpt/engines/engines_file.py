"""The list of engines as a file, which may be edited while a run goes on.

    # one engine a line, named as for --engine; # begins a comment
    http://10.0.0.1:8080
    openai+http://10.0.0.2:8000    # vLLM

Keeps true: a file is read again only when it has changed and then stood still for one look, so that one in the middle
of being written is not taken for a shorter list. Does not know engines.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from hub_instructpt.errors import InputError

LOOK_SECONDS = 1.0
MOST_BYTES = 2**20

_Stamp = tuple[int, int, int]


class EnginesFile:
    """A file of engines.

    Args:
        path: of the file; a relative one is taken from where the process is now.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser().absolute()
        self._read: _Stamp | None = None
        self._seen: _Stamp | None = None

    def read(self) -> list[str]:
        """The engines that the file names.

        Raises:
            InputError: it is not there or not readable, names none, or one twice.
        """
        try:
            self._read = self._seen = _stamp(self.path)
            if self.path.stat().st_size > MOST_BYTES:
                raise InputError(f"{self.path} is too large for a list of engines.", advice="Check --engines-file.")
            text = self.path.read_text("utf-8-sig")
        except OSError as error:
            raise InputError(
                f"{self.path} can not be read: {error.strerror or type(error).__name__}.",
                advice="A file of engines has one engine a line.",
            ) from None
        except UnicodeDecodeError:
            raise InputError(f"{self.path} is not text in UTF-8.", advice="It has one engine a line.") from None
        names = [name for line in text.splitlines() if (name := re.sub(r"(^|\s)#.*", "", line).strip())]
        if not names:
            raise InputError(
                f"{self.path} names no engine.", advice="It has one engine a line, such as http://HOST:PORT."
            )
        return names

    def changed(self) -> bool:
        """Whether the file is another since it was read, and stands still. To be asked every `LOOK_SECONDS`."""
        try:
            now = _stamp(self.path)
        except OSError:  # an editor may be about to put a new one in its place
            return False
        still, self._seen = now == self._seen, now
        return still and now != self._read


def _stamp(path: Path) -> _Stamp:
    found = os.stat(path)
    return found.st_mtime_ns, found.st_size, found.st_ino
