"""Gold of the customers dataset: the facts of a customer's history that its contracts refer to."""

from __future__ import annotations

from medallion_contracts.loader import load_dataset
from medallion_spark.gold.transforms import GoldTransforms

GOLD = GoldTransforms(
    load_dataset("customers"),
    counters={
        "updates_count": (),
        "plan_changes": ("contract", "internet_service", "phone_service"),
    },
    previous=("monthly_charges",),
)
