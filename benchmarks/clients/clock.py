"""Wall and CPU time of a block, children included, and no connection to anywhere but this machine.

Stands alone: it is imported by scripts in environments that have nothing of ours.
"""

from __future__ import annotations

import json
import resource
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def guard() -> None:
    """Refuse to look up any host but this one: peers ask for vocabularies, prices and news when they start."""
    look_up = socket.getaddrinfo

    def local_only(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in ("127.0.0.1", "localhost", "::1", b"127.0.0.1", b"localhost", None):
            raise socket.gaierror(f"{host} is not looked up in a benchmark")
        return look_up(host, *args, **kwargs)

    socket.getaddrinfo = local_only


def read_rows(path: str) -> list[dict[str, Any]]:
    """The documents, in memory: peers take them so."""
    with open(path) as stream:
        return [json.loads(line) for line in stream]


def _cpu_seconds() -> float:
    spent = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in spent)


@contextmanager
def timed(documents: int) -> Iterator[dict[str, Any]]:
    """Print the figures of the block as JSON. What the block puts into the dict is printed as well."""
    found: dict[str, Any] = {"documents": documents}
    began, spent = time.perf_counter(), _cpu_seconds()
    yield found
    found["seconds"] = time.perf_counter() - began
    found["cpu_seconds"] = _cpu_seconds() - spent
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    found["peak_mib"] = max(resource.getrusage(kind).ru_maxrss for kind in kinds) / 1024
    sys.stdout.flush()
    print("\n" + json.dumps(found), flush=True)
