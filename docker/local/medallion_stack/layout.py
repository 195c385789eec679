"""Where the project and its downloads are."""

from __future__ import annotations

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]
VENV = PROJECT / ".venv"
CACHE = PROJECT / ".cache"
SPARK_JARS = CACHE / "jars" / "spark"
BROKER_JARS = CACHE / "jars" / "broker"
TELCO = PROJECT / "docker/local/data/telco-customer-churn.csv"
