"""The README's example: a churn model from gold is as good as one from the file the customers came from."""

from __future__ import annotations

import os
import subprocess
import sys

import pandas as pd
import pytest

from churn_model import CATEGORIES, NUMBERS, cross_validated_auc
from e2e.conftest import E2E_SECONDS, Platform
from medallion_stack.layout import PROJECT
from medallion_stack.stack import TELCO

pytestmark = pytest.mark.timeout(E2E_SECONDS)
SOURCE_NAMES = {
    "Contract": "contract",
    "InternetService": "internet_service",
    "SeniorCitizen": "senior_citizen",
    "MonthlyCharges": "monthly_charges",
}


@pytest.mark.usefixtures("demo_report")
def test_a_churn_model_from_gold_is_as_good_as_one_from_the_csv(platform: Platform) -> None:
    source = pd.read_csv(TELCO).rename(columns=SOURCE_NAMES).sort_values("customerID")
    source["churned"] = source["Churn"] == "Yes"
    from_csv = cross_validated_auc(source[[*CATEGORIES, *NUMBERS, "churned"]])

    done = subprocess.run(
        [sys.executable, PROJECT / "docker/local/churn_model.py"],
        env={**os.environ, **platform.settings},
        capture_output=True,
        text=True,
        check=True,
    )
    customers, auc = done.stdout.split(" customers")[0], float(done.stdout.split("AUC ")[1])
    assert customers == f"{len(source):,}"
    assert abs(auc - from_csv) < 0.01, f"gold {auc}, CSV {from_csv}: gold lost something"
    assert auc > 0.8
