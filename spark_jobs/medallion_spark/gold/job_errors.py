"""What Spark raises when a job fails, and the one line of it that may be shown."""

from __future__ import annotations

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException

from medallion_contracts.errors import GoldError

SPARK_ERRORS = (PySparkException, Py4JJavaError)
"""An error within a task arrives as py4j's or as PySpark's own, depending on where it was raised."""
_OURS = f"{GoldError.__module__}."


def first_line(error: Exception) -> str:
    """Our own error if a task raised one, else Spark's first line; what follows may quote rows."""
    text = str(error.java_exception.getMessage()) if isinstance(error, Py4JJavaError) else str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    ours = next((line for line in lines if line.startswith(_OURS)), None)
    if ours is not None:
        return ours.partition(": ")[2]
    return lines[0][:300] if lines else type(error).__name__
