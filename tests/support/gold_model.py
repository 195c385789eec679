"""Gold in plain Python: what the tables must hold after any history of versions, as the contracts say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise
from typing import Any

from further_fields import further_values
from medallion_contracts.loader import load_dataset

DATASET = load_dataset("customers")
NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
Row = tuple[Any, ...]
Version = Mapping[str, Any]
_CENT = Decimal("0.01")


def version(customer_id: str, hours: float = 0.0, **fields: Any) -> dict[str, Any]:
    """One version of a customer, `hours` after noon, right in every field that is not given."""
    known = {
        "customer_id": customer_id,
        "gender": "Female",
        "senior_citizen": False,
        "partner": True,
        "dependents": False,
        "tenure": 10,
        "phone_service": True,
        "internet_service": "DSL",
        "contract": "One year",
        "monthly_charges": Decimal("50.00"),
        "total_charges": Decimal("500.00"),
        "updated_at": NOON + timedelta(hours=hours),
        "first_name": "Ada",
        "last_name": "Lovelace",
        "email": "ada@example.org",
        "defaulted_fields": [],
        **fields,
    }
    return known | further_values(known)


def gold_of(
    versions: Iterable[Version],
    labels: Mapping[str, bool] | None = None,
    rejected: Iterable[tuple[str, datetime]] = (),
) -> dict[str, set[Row]]:
    """Rows of every gold table, in the contract's column order, lists as tuples."""
    left_out = set(rejected)
    customers: dict[str, list[Version]] = defaultdict(list)
    for one in versions:
        if (one["customer_id"], one["updated_at"]) not in left_out:
            customers[one["customer_id"]].append(one)
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for known in customers.values():
        known.sort(key=lambda one: one["updated_at"])
        rows["customer_history"].extend(_history(known))
        rows["customers"].append({**known[-1], "first_seen_at": known[0]["updated_at"]})
        rows["customer_features"].append(_features(known, labels or {}))
    rows["segment_hourly"] = _segments(rows["customer_history"])
    return {
        name: {_row(table.column_names, row) for row in rows[name]} for name, table in DATASET.gold.items()
    }


def _row(names: Iterable[str], row: Mapping[str, Any]) -> Row:
    return tuple(tuple(row[name]) if isinstance(row[name], list) else row[name] for name in names)


def _history(known: list[Version]) -> Iterable[dict[str, Any]]:
    ends = [one["updated_at"] for one in known[1:]] + [None]
    for position, (one, end) in enumerate(zip(known, ends, strict=True)):
        yield {
            **one,
            "valid_from": one["updated_at"],
            "valid_to": end,
            "is_current": end is None,
            "is_first": position == 0,
        }


def _features(known: list[Version], labels: Mapping[str, bool]) -> dict[str, Any]:
    newest = known[-1]
    plans = [(one["contract"], one["internet_service"], one["phone_service"]) for one in known]
    tenure, monthly = newest["tenure"], newest["monthly_charges"]
    bands = [(12, "0-12"), (24, "13-24"), (48, "25-48"), (72, "49-72"), (10_000, "73+")]
    households = {
        (False, False): "Alone",
        (True, False): "Partner",
        (False, True): "Dependents",
        (True, True): "Partner and dependents",
    }
    return {
        **newest,
        "tenure_band": next(name for upper, name in bands if tenure <= upper),
        "contract_months": {"Month-to-month": 1, "One year": 12, "Two year": 24}[newest["contract"]],
        "services_count": int(newest["phone_service"]) + int(newest["internet_service"] != "No"),
        "household": households[newest["partner"], newest["dependents"]],
        "avg_monthly_charge": (newest["total_charges"] / max(tenure, 1)).quantize(_CENT, ROUND_HALF_UP),
        "charge_gap": newest["total_charges"] - monthly * tenure,
        "charge_change": monthly - known[-2]["monthly_charges"] if len(known) > 1 else None,
        "plan_changes": sum(before != after for before, after in pairwise(plans)),
        "updates_count": len(known),
        "days_as_known_customer": (newest["updated_at"] - known[0]["updated_at"]).days,
        "churned": labels.get(newest["customer_id"]),
        "feature_version": 1,
    }


def _segments(history: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    groups: dict[Row, list[Mapping[str, Any]]] = defaultdict(list)
    for one in history:
        hour = one["valid_from"].replace(minute=0, second=0, microsecond=0)
        groups[hour, one["contract"], one["internet_service"]].append(one)
    segments = []
    for (hour, contract, internet), members in groups.items():
        total = sum((one["monthly_charges"] for one in members), Decimal(0))
        segments.append(
            {
                "hour": hour,
                "contract": contract,
                "internet_service": internet,
                "updates": len(members),
                "customers": len({one["customer_id"] for one in members}),
                "new_customers": sum(one["is_first"] for one in members),
                "monthly_charges_sum": total,
                "monthly_charges_avg": (total / len(members)).quantize(_CENT, ROUND_HALF_UP),
            }
        )
    return segments
