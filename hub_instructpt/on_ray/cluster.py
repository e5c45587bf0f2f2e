"""The cluster: connecting to one that runs, and what to say when that does not work.

Keeps true: `ray` is loaded here and only when it is asked for; signals that ended the process gracefully before still
do. Does not know runs.
"""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from hub_instructpt.errors import RunError, SettingsError

START_ONE = "Start one with `ray start --head`, or give its address: --ray HOST:PORT."

KNOCK_SECONDS = 10.0


@contextmanager
def connected(address: str) -> Iterator[ModuleType]:
    """Be connected to a cluster; gives the module `ray`. A connection that is there already is used, and left as it is.

    Raises:
        SettingsError: Ray is not installed.
        RunError: there is no cluster at this address.
    """
    try:
        import ray
    except ImportError:
        raise SettingsError("--ray needs Ray.", advice="pip install 'hub-instructpt[ray]'") from None
    if ray.is_initialized():
        yield ray
        return
    _knock(address)
    # Ray sets a handler of its own, which would leave without a word.
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        ray.init(address=address, logging_level=logging.WARNING, log_to_driver=True)
    except (ConnectionError, TimeoutError, RuntimeError, ValueError) as error:
        raise _nobody(address, type(error).__name__) from None
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    try:
        yield ray
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """See whether anybody is there; Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_SECONDS).close()
    except OSError as error:
        raise _nobody(address, error.strerror or type(error).__name__) from None


def _nobody(address: str, why: str) -> RunError:
    where = "" if address == "auto" else f" at {address}"
    return RunError(f"There is no Ray cluster{where} ({why}).", advice=START_ONE)


def here(ray: Any) -> Any:
    """The strategy that puts an actor beside the driver, where that is possible."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
