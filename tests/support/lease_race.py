"""Two processes that take the same lease at the same moment, round after round."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from typing import Any

from medallion_contracts.errors import LeaseError
from medallion_store.control_files import control_files
from medallion_store.lake_login import LakeLogin
from medallion_store.lease import LEASE_STALE_SECONDS, Lease

TAKERS = 2
_ROUND_SECONDS = 60


def lease_winners(login: LakeLogin, rounds: int) -> list[list[str]]:
    """Race for a lease that is not there, stale or released, by turns.

    Args:
        login: to a lake; the files go below its root.
        rounds: how many races.

    Returns:
        The owners that had the lease at the end of each round, by their own check.
    """
    folder = f"{login.uri}/races/{uuid.uuid4().hex}"
    paths = [f"{folder}/{number}.json" for number in range(rounds)]
    files = control_files(login)
    stale = (datetime.now(UTC) - timedelta(seconds=LEASE_STALE_SECONDS + 5)).isoformat()
    for number, path in enumerate(paths):
        if number % 3 == 1:
            files.write(path, {"owner": "stream:dead", "acquired_at": stale, "heartbeat_at": stale})
        if number % 3 == 2:
            files.write(path, {"owner": None, "released_at": stale})
    # Not forked: the object store's client does not survive that.
    context = get_context("spawn")
    barrier = context.Barrier(TAKERS)
    with context.Pool(TAKERS, _set_barrier, (barrier,)) as pool:
        won = pool.map(_take_all, [(login, paths)] * TAKERS, chunksize=1)
    return [[owner for owner in owners if owner is not None] for owners in zip(*won, strict=True)]


_barrier: Barrier | None = None


def _set_barrier(barrier: Barrier) -> None:
    global _barrier  # a pool's way to hand over what cannot be pickled
    _barrier = barrier


def _take_all(arguments: tuple[LakeLogin, Sequence[str]]) -> list[str | None]:
    login, paths = arguments
    assert _barrier is not None
    files: Any = control_files(login)
    owners: list[str | None] = []
    for path in paths:
        lease = Lease(files, path, "rebuild")
        _barrier.wait(_ROUND_SECONDS)
        with contextlib.suppress(LeaseError):
            lease.acquire()
        _barrier.wait(_ROUND_SECONDS)
        try:
            lease.check()
            owners.append(lease.owner)
        except LeaseError:
            owners.append(None)
    return owners
