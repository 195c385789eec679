"""Free loopback ports."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection

LOOPBACK = "127.0.0.1"
# Below the range the kernel takes ports of outgoing connections from: a remembered port stays free.
_LOWEST, _HIGHEST = 20_000, 29_999


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def answers(port: int) -> bool:
    """Whether a server listens there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


def free_port(taken: Collection[int] = ()) -> int:
    """A port nobody listens on, other than those taken.

    Random, so that stacks started side by side seldom choose the same one.
    """
    while True:
        port = random.randint(_LOWEST, _HIGHEST)  # noqa: S311 - not a secret
        if port not in taken and is_free(port):
            return port
