"""Whether the local stack's supervisor lives: the note that the stack keeps of the process says which it is.

The stack removes the note when it ends the supervisor on purpose. Under compose and systemd there is none:
their restart policies are their own.
"""

from __future__ import annotations

import json
from pathlib import Path

from medallion_store.process_id import ProcessId


def has_died(note: Path | None) -> bool:
    """Whether the noted process is gone.

    Args:
        note: JSON with `pid` and `started`; None, or a file that is not there, for no supervisor to watch.
    """
    if note is None:
        return False
    try:
        noted = json.loads(note.read_text())
        return not ProcessId(noted["pid"], noted["started"]).is_alive
    except FileNotFoundError:
        return False
    except (ValueError, LookupError, TypeError):
        return True  # whoever wrote it did not finish, and did not write it again
