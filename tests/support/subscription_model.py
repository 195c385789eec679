"""Gold of the subscriptions in plain Python: what the tables must hold, as the contracts say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from medallion_contracts.loader import load_dataset

SUBSCRIPTIONS = load_dataset("subscriptions")
MIDDAY = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
Row = tuple[Any, ...]
Version = Mapping[str, Any]
_SERVICES = SUBSCRIPTIONS.events.column("service").enum
_CHANGES = ("variant", "is_active", "payment_method", "paperless_billing")


def subscription(customer_id: str, service: str, hours: float = 0.0, **fields: Any) -> dict[str, Any]:
    """One version of a subscription, `hours` after midday, right in every field that is not given."""
    return {
        "subscription_id": f"{customer_id}:{service}",
        "customer_id": customer_id,
        "service": service,
        "variant": "Yes",
        "is_active": fields.get("variant", "Yes") == "Yes",
        "payment_method": "Mailed check",
        "paperless_billing": False,
        "changed_at": MIDDAY + timedelta(hours=hours),
        "defaulted_fields": [],
        **fields,
    }


def gold_of_subscriptions(versions: Iterable[Version]) -> dict[str, set[Row]]:
    """Rows of every gold table, in the contract's column order, lists as tuples."""
    by_id: dict[str, list[Version]] = defaultdict(list)
    for one in versions:
        by_id[one["subscription_id"]].append(one)
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for known in by_id.values():
        known.sort(key=lambda one: one["changed_at"])
        ends = [one["changed_at"] for one in known[1:]] + [None]
        rows["subscription_history"].extend(
            {
                **one,
                "valid_from": one["changed_at"],
                "valid_to": end,
                "is_current": end is None,
                "is_first": one is known[0],
            }
            for one, end in zip(known, ends, strict=True)
        )
        states = [tuple(one[name] for name in _CHANGES) for one in known]
        rows["subscriptions"].append(
            {
                **known[-1],
                "first_seen_at": known[0]["changed_at"],
                "updates_count": len(known),
                "changes_count": sum(before != after for before, after in pairwise(states)),
            }
        )
    rows["service_daily"] = list(_days(rows["subscription_history"]))
    rows["customer_subscription_features"] = list(_features(rows["subscriptions"]))
    return {
        name: {
            tuple(tuple(row[c]) if isinstance(row[c], list) else row[c] for c in table.column_names)
            for row in rows[name]
        }
        for name, table in SUBSCRIPTIONS.gold.items()
    }


def _days(history: Iterable[Mapping[str, Any]]) -> Iterable[dict[str, Any]]:
    groups: dict[Row, list[Mapping[str, Any]]] = defaultdict(list)
    for one in history:
        groups[one["valid_from"].date(), one["service"], one["payment_method"]].append(one)
    for (day, service, payment_method), members in groups.items():
        active = sum(one["is_active"] for one in members)
        yield {
            "day": day,
            "service": service,
            "payment_method": payment_method,
            "updates": len(members),
            "subscriptions_changed": len({one["subscription_id"] for one in members}),
            "new_subscriptions": sum(one["is_first"] for one in members),
            "active_updates": active,
            "inactive_updates": len(members) - active,
        }


def _features(subscriptions: Iterable[Mapping[str, Any]]) -> Iterable[dict[str, Any]]:
    by_customer: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for one in subscriptions:
        by_customer[one["customer_id"]].append(one)
    for customer_id, owned in by_customer.items():
        variants = {one["service"]: one["variant"] for one in owned}
        yield {
            "customer_id": customer_id,
            "subscriptions_count": len(owned),
            "active_services": sum(one["is_active"] for one in owned),
            **{service: variants.get(service, "Unknown") for service in _SERVICES},
            "payment_method": max(one["payment_method"] for one in owned),
            "paperless_billing": any(one["paperless_billing"] for one in owned),
            "last_changed_at": max(one["changed_at"] for one in owned),
            "feature_version": 1,
        }
