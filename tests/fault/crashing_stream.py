"""The streaming job, killed at one point of its second batch: `crashing_stream.py SIDE POINT SIGNAL ...`.

SIDE is before or after; POINT the commit of bronze, silver, quarantine, ledger or checkpoint, or the lease's
check before silver's commit; SIGNAL is KILL, TERM, STOP or HANG; then come the job's own arguments.
The product has no hook for this: its own functions are wrapped here. KILL ends JVM and Python, as a machine's
death does; TERM goes to the JVM alone, as the worker of a cluster sends it. STOP freezes both until someone
lets them go on; HANG waits for ever in Python, while all other threads go on.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyspark import SparkContext

from medallion_spark.lake.tables import LakeTable
from medallion_spark.stream.ledger import Ledger
from medallion_spark.stream.query import Stream
from medallion_store.lease import Lease

BATCH = 2
"""The first one takes up what the driver before left undone."""
CHECKS_BEFORE_SILVER = 6
"""Of bronze, silver, quarantine and ledger in the first batch; then bronze's and this one."""
JOB = Path(__file__).parents[2] / "spark_jobs" / "stream_to_silver.py"


def die(how: str) -> None:
    """End this driver; with SIGTERM, Python goes on until it notices."""
    print(f"fault: {how} now", flush=True)
    if how == "HANG":
        threading.Event().wait()
    gateway: Any = SparkContext._gateway
    os.kill(gateway.proc.pid, signal.Signals[f"SIG{how}"])
    if how in ("KILL", "STOP"):
        os.kill(os.getpid(), signal.Signals[f"SIG{how}"])


def crash_around(owner: type, point: Callable[[Any], str], wanted: tuple[str, str], how: str) -> None:
    """Wrap `owner.append` so that the driver dies before or after the second commit at the wanted point."""
    append = owner.append  # type: ignore[attr-defined]  # both tables have it
    side, at = wanted
    commits = 0

    def wrapped(self: Any, *arguments: Any) -> Any:
        nonlocal commits
        commits += point(self) == at
        is_here = point(self) == at and commits == BATCH
        if is_here and side == "before":
            die(how)
        result = append(self, *arguments)
        if is_here and side == "after":
            die(how)
        return result

    owner.append = wrapped  # type: ignore[attr-defined]


def crash_after_checkpoint(how: str) -> None:
    """Die when Spark has committed the second micro-batch of this run."""
    start = Stream._start

    def wrapped(self: Stream, *arguments: Any) -> Any:
        commits = Path(self._paths.checkpoint) / "commits"
        before = set(commits.glob("[0-9]*"))

        def watch() -> None:
            while len(set(commits.glob("[0-9]*")) - before) < BATCH:
                time.sleep(0.002)
            die(how)

        threading.Thread(target=watch, daemon=True).start()
        return start(self, *arguments)

    Stream._start = wrapped  # type: ignore[method-assign,assignment]


def crash_at_check(how: str) -> None:
    """Die right before the lease is checked for the commit of the second batch's silver."""
    check = Lease.check
    commits = 0

    def wrapped(self: Lease) -> None:
        nonlocal commits
        commits += 1
        if commits == CHECKS_BEFORE_SILVER:
            with self._lock:  # not while another thread holds the lock of the folder
                die(how)
        check(self)

    Lease.check = wrapped  # type: ignore[method-assign]


def main() -> None:
    """Plant the crash, then run the job as it is."""
    side, point, how = sys.argv[1:4]
    if point == "checkpoint":
        crash_after_checkpoint(how)
    elif point == "check":
        crash_at_check(how)
    else:
        crash_around(LakeTable, lambda table: table.name, (side, point), how)
        crash_around(Ledger, lambda _: "ledger", (side, point), how)
    sys.argv = [str(JOB), *sys.argv[4:]]
    runpy.run_path(str(JOB), run_name="__main__")


if __name__ == "__main__":
    main()
