"""The README's example: a churn model from gold is as good as one from all that the Telco table holds."""

from __future__ import annotations

import os
import subprocess
import sys

import pandas as pd
import pytest

from churn_model import cross_validated_auc
from e2e.conftest import E2E_SECONDS, Platform
from medallion_stack.layout import PROJECT, TELCO

pytestmark = pytest.mark.timeout(E2E_SECONDS)
NUMBERS = ["tenure", "MonthlyCharges", "TotalCharges"]


@pytest.mark.usefixtures("demo_report", "subscriptions_report")
def test_a_churn_model_from_both_datasets_is_as_good_as_one_from_all_columns_of_the_csv(
    platform: Platform,
) -> None:
    source = pd.read_csv(TELCO).sort_values("customerID")
    source["churned"] = source["Churn"] == "Yes"
    charges = pd.to_numeric(source["TotalCharges"], errors="coerce")
    source["TotalCharges"] = charges.fillna(source["MonthlyCharges"] * source["tenure"])
    categories = [str(name) for name in source if name not in {"customerID", "Churn", "churned", *NUMBERS}]
    assert len(categories) + len(NUMBERS) == 19
    from_csv = cross_validated_auc(source, categories, NUMBERS)

    done = subprocess.run(
        [sys.executable, PROJECT / "docker/local/churn_model.py"],
        env={**os.environ, **platform.settings},
        capture_output=True,
        text=True,
        check=True,
    )
    customers, auc = done.stdout.split(" customers")[0], float(done.stdout.split("AUC ")[1])
    assert customers == f"{len(source):,}"
    assert abs(auc - from_csv) <= 0.005, f"gold {auc}, CSV {from_csv}: gold lost something"
    assert auc > 0.84
