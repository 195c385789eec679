"""A stack of its own for tests: own state folder and ports, and no setting of whoever runs them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medallion_stack.cli import set_up
from medallion_stack.shutdown import down
from medallion_stack.state import State


@contextmanager
def own_stack(folder: Path, **settings: str) -> Iterator[State]:
    """A block that may start a stack; down at its end, whatever happened.

    Args:
        folder: of its state; it is there.
        settings: the only MEDALLION_ variables meanwhile.
    """
    state = State(folder)
    chosen = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("MEDALLION_")}
    set_up()
    os.environ.update(settings)
    try:
        yield state
    finally:
        down(state)
        for name in settings:
            os.environ.pop(name, None)
        os.environ.update(chosen)
