"""Loads Great Expectations without what the gate does not use of it.

It imports whatever engine and cloud client is installed, used or not: without them it takes 1.6 instead of
2.7 s of processor time, and 100 MB less. Only a process of the gate's own may do this: what it leaves out is
left out of the whole process.
"""

from __future__ import annotations

import importlib.util
import sys

LEFT_OUT = ("pyspark", "azure.identity", "azure.storage.blob")
"""Great Expectations takes these for not installed: the gate asks Postgres alone."""

LATE = ("scipy.stats",)
"""Loaded when something of it is used."""


def import_lean() -> None:
    """Prepare the import of Great Expectations in this process."""
    for name in LEFT_OUT:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # the import system's own way to say so
    for name in LATE:
        if name not in sys.modules:
            _load_late(name)


def _load_late(name: str) -> None:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        return
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)
