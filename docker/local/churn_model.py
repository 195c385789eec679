"""An example of using gold: trains a churn model from `gold.customer_features`, seen as `gold_reader`.

Prints the area under the ROC curve, cross-validated in five folds. The reader's login comes from
MEDALLION_READER_DSN: `set -a; . .state/stack.env; set +a` first.
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

CATEGORIES = ["contract", "internet_service", "senior_citizen"]
NUMBERS = ["tenure", "monthly_charges"]


def labelled_features(dsn: str) -> pd.DataFrame:
    """CATEGORIES, NUMBERS and `churned` of each customer whose outcome is known, by customer_id."""
    columns = [*CATEGORIES, *NUMBERS, "churned"]
    query = (
        f"SELECT {', '.join(columns)} FROM gold.customer_features "  # noqa: S608 - constants of this module
        "WHERE churned IS NOT NULL ORDER BY customer_id"
    )
    with psycopg.connect(dsn, client_encoding="utf8") as connection:
        frame = pd.DataFrame(connection.execute(query).fetchall(), columns=columns)
    return frame.astype(dict.fromkeys(NUMBERS, float))


def cross_validated_auc(customers: pd.DataFrame) -> float:
    """Mean area under the ROC curve of a logistic regression, five stratified folds, fixed seed."""
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), CATEGORIES), (StandardScaler(), NUMBERS)
    )
    model = make_pipeline(columns, LogisticRegression(max_iter=1000))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    scores = cross_val_score(
        model,
        customers[[*CATEGORIES, *NUMBERS]],
        customers["churned"].astype(bool),
        cv=folds,
        scoring="roc_auc",
    )
    return float(scores.mean())


def main() -> int:
    """Train and report."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    dsn = os.environ.get("MEDALLION_READER_DSN")
    if not dsn:
        print("MEDALLION_READER_DSN is not set: `set -a; . .state/stack.env; set +a`", file=sys.stderr)
        return 1
    customers = labelled_features(dsn)
    print(f"{len(customers):,} customers with a known outcome, AUC {cross_validated_auc(customers):.3f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
