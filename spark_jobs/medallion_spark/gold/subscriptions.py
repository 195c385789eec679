"""Gold of the subscriptions dataset: the facts of a subscription's history that its contracts refer to."""

from __future__ import annotations

from medallion_contracts.loader import load_dataset
from medallion_spark.gold.transforms import GoldTransforms

GOLD = GoldTransforms(
    load_dataset("subscriptions"),
    counters={
        "updates_count": (),
        "changes_count": ("variant", "is_active", "payment_method", "paperless_billing"),
    },
)
