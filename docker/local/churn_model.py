"""An example of using gold: trains a churn model from the features of both datasets, seen as `gold_reader`.

Prints the area under the ROC curve, cross-validated in five folds, the mean over several seeds. The
reader's login comes from MEDALLION_READER_DSN: `set -a; . .state/stack.env; set +a` first.
"""

from __future__ import annotations

import argparse
import os
import sys

import pandas as pd
import psycopg
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

OF_CUSTOMERS = ["contract", "internet_service", "senior_citizen", "household"]
OF_SUBSCRIPTIONS = [
    "phone",
    "multiple_lines",
    "online_security",
    "online_backup",
    "device_protection",
    "tech_support",
    "streaming_tv",
    "streaming_movies",
    "payment_method",
    "paperless_billing",
]
CATEGORIES = [*OF_CUSTOMERS, *OF_SUBSCRIPTIONS]
NUMBERS = ["tenure", "monthly_charges", "total_charges"]
SEEDS = (0, 1, 2)
_QUERY = f"""
SELECT {", ".join(CATEGORIES)}, c.tenure, c.monthly_charges,
    c.charge_gap + c.monthly_charges * c.tenure AS total_charges, c.churned
FROM gold.customer_features AS c LEFT JOIN gold.customer_subscription_features AS s USING (customer_id)
WHERE c.churned IS NOT NULL ORDER BY customer_id
"""  # noqa: S608  # constants of this module


def labelled_features(dsn: str) -> pd.DataFrame:
    """CATEGORIES, NUMBERS and `churned` of each customer whose outcome is known, by customer_id."""
    with psycopg.connect(dsn, client_encoding="utf8") as connection:
        rows = connection.execute(_QUERY.encode()).fetchall()
    frame = pd.DataFrame(rows, columns=[*CATEGORIES, *NUMBERS, "churned"])
    return frame.astype(dict.fromkeys(NUMBERS, float) | dict.fromkeys(OF_SUBSCRIPTIONS, str))


def cross_validated_auc(customers: pd.DataFrame, categories: list[str], numbers: list[str]) -> float:
    """Mean area under the ROC curve of a logistic regression: five stratified folds for each of SEEDS.

    Args:
        customers: the columns named, and `churned`.
        categories: columns that are one-hot encoded.
        numbers: columns that are scaled.
    """
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), categories), (StandardScaler(), numbers)
    )
    model = make_pipeline(columns, LogisticRegression(max_iter=1000))
    scores = [
        cross_val_score(
            model,
            customers[[*categories, *numbers]],
            customers["churned"].astype(bool),
            cv=StratifiedKFold(5, shuffle=True, random_state=seed),
            scoring="roc_auc",
        ).mean()
        for seed in SEEDS
    ]
    return float(sum(scores) / len(scores))


def main() -> int:
    """Train and report."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    dsn = os.environ.get("MEDALLION_READER_DSN")
    if not dsn:
        print("MEDALLION_READER_DSN is not set: `set -a; . .state/stack.env; set +a`", file=sys.stderr)
        return 1
    customers = labelled_features(dsn)
    auc = cross_validated_auc(customers, CATEGORIES, NUMBERS)
    print(f"{len(customers):,} customers with a known outcome, AUC {auc:.4f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
