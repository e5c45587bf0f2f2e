"""Room for connections: each is an open file, and many systems allow a process 1,024 of them unless it asks for more.

A fleet of eight servers has more requests in flight than that. What a process may ask for (the hard limit) is far
higher nearly everywhere.

Keeps true: the limit is only ever raised. Does not know who connects where.
"""

from __future__ import annotations

import logging

FOR_OTHERS = 256
"""Files that are no connections: journals, shards, the source, libraries."""

MOST = 65_536

_log = logging.getLogger("hub_instructpt")
_promised = 0


def make_room(connections: int) -> None:
    """See that the process may open so many connections more."""
    global _promised
    _promised += connections
    try:
        import resource
    except ImportError:  # Windows has no such limit for sockets
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(MOST, _promised + FOR_OTHERS)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))
    except (OSError, ValueError):
        allowed = soft
    if allowed < wanted:
        _log.warning(
            "This process may open %d files, and its servers take %d requests at a time. "
            "Allow it more (ulimit -n), or lower --concurrency.",
            allowed, _promised,
        )  # fmt: skip


def give_back(connections: int) -> None:
    """So many connections are not needed any more."""
    global _promised
    _promised -= connections
