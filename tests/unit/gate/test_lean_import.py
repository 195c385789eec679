"""The gate's process loads nothing of Great Expectations that it does not use, and works without it."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
import sys
from medallion_ops.gate.lean_import import import_lean
import_lean()
import medallion_ops.gate.audit
from scipy import stats
unused = ("pyspark.sql", "azure.identity", "scipy.stats._distn_infrastructure")
print([name for name in unused if sys.modules.get(name)], stats.norm.cdf(0))
"""


def test_engines_and_cloud_clients_that_are_installed_are_not_loaded_and_statistics_are_when_used() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.strip() == "[] 0.5", done.stderr
