"""Made-up customers whose contracts change over time, for load and for trying things out."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import gcd
from random import Random
from typing import Any, NamedTuple

from medallion_ops.producer.names import People
from medallion_ops.producer.undated_event import UndatedEvent

_GENDERS = ("Female", "Male")
_INTERNET = ("DSL", "Fiber optic", "No")
_CONTRACTS = ("Month-to-month", "One year", "Two year")
_CENTS = {"DSL": 4500, "Fiber optic": 8000, "No": 1500}
_PHONE_CENTS = 500
_ROUNDS_PER_PLAN = 6
_MOST_MONTHS = 72


class _Profile(NamedTuple):
    """What does not change about a customer, and where its life begins."""

    constant: dict[str, Any]
    names: dict[str, Any]
    months: int
    plan: int


class SyntheticCustomers:
    """An endless source: each customer once a round, in a scattered order, a month older each round.

    The same seed and number of customers give the same events. Nothing is remembered between events, so any
    number of customers takes the same memory.
    """

    def __init__(self, seed: int, customers: int) -> None:
        self._seed = seed
        self._customers = customers
        self._people = People(seed)
        # A step without a common divisor visits every customer once a round.
        self._step = max(1, int(customers * 0.618))
        while gcd(self._step, customers) != 1:
            self._step += 1
        self._profile = lru_cache(maxsize=100_000)(self._make_profile)

    def __iter__(self) -> Iterator[UndatedEvent]:
        """Events without time, for ever."""
        turn = 0
        while True:
            yield self._event(turn * self._step % self._customers, turn // self._customers, turn + 1)
            turn += 1

    def _event(self, index: int, round_: int, number: int) -> UndatedEvent:
        constant, names, months, plan = self._profile(index)
        tenure = min(months + round_, 1200)
        plan += round_ // _ROUNDS_PER_PLAN
        internet = _INTERNET[plan % 3]
        has_phone = plan % 5 != 0 or internet == "No"  # a contract without any service makes no sense
        cents = _CENTS[internet] + has_phone * _PHONE_CENTS + (index * 7 + round_ * 13) % 400
        fields: dict[str, object] = {
            **constant,
            "tenure": tenure,
            "phone_service": has_phone,
            "internet_service": internet,
            "contract": _CONTRACTS[plan // 3 % 3],
            "monthly_charges": cents / 100,
            "total_charges": cents * tenure / 100,
            **names,
        }
        return UndatedEvent(constant["customer_id"], fields, f"event {number}")

    def _make_profile(self, index: int) -> _Profile:
        chance = Random(f"{self._seed}:{index}")  # noqa: S311  # made-up data needs no secret randomness
        customer_id = f"S{index:08d}"
        gender = chance.choice(_GENDERS)
        constant = {
            "customer_id": customer_id,
            "gender": gender,
            "senior_citizen": chance.random() < 0.16,
            "partner": chance.random() < 0.48,
            "dependents": chance.random() < 0.3,
        }
        person = self._people.person(customer_id, gender)
        return _Profile(constant, person._asdict(), chance.randrange(_MOST_MONTHS), chance.randrange(1_000))
