"""The second dataset in the running stack: the same DAG files, beside the first, which goes on."""

from __future__ import annotations

import pytest

from e2e.conftest import E2E_SECONDS, Platform
from medallion_stack.observe import GoldView
from medallion_stack.report import Report

pytestmark = pytest.mark.timeout(E2E_SECONDS)


@pytest.mark.usefixtures("demo_report")
def test_subscriptions_go_from_the_telco_table_to_gold_beside_the_customers(
    platform: Platform, subscriptions_report: Report
) -> None:
    wrong = [check for check in subscriptions_report.checks if not check.holds]
    assert not wrong, subscriptions_report.text
    rows = GoldView(platform.settings, "subscriptions").rows()
    assert rows["subscriptions"] == 9 * rows["customer_subscription_features"]
    assert rows["customer_subscription_features"] == 7_043
    customers = GoldView(platform.settings, "customers")
    assert customers.rows()["customers"] >= 7_043, "the other dataset's gold is as it was"
    assert customers.published_version() is not None
