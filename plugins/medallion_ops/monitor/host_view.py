"""What the monitor sees of its host: free space."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from medallion_ops.monitor.observation import Disk
from medallion_ops.settings import Settings


def disks(folders: Iterable[Path]) -> tuple[Disk, ...]:
    """Free space of the file systems that hold these folders, each once.

    Args:
        folders: those that do not exist count as their nearest parent that does.
    """
    found: dict[int, Disk] = {}
    for folder in folders:
        there = next((path for path in (folder, *folder.parents) if path.exists()), None)
        if there is None:
            continue
        usage = shutil.disk_usage(there)
        found.setdefault(there.stat().st_dev, Disk(str(folder), 100 * usage.free / usage.total))
    return tuple(found.values())


def watched_folders(settings: Settings) -> tuple[Path, ...]:
    """Folders of this host that the platform writes to."""
    lake = [Path(settings.lake.uri)] if settings.lake.is_local else []
    docs = [settings.gold.data_docs_dir] if settings.gold.data_docs_dir else []
    return (*lake, *docs, *([settings.alerts.outbox] if settings.alerts.outbox else []), Path("/tmp"))  # noqa: S108
