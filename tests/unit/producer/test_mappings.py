"""What the producer makes of the Telco table, for each dataset that has a mapping."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from medallion_contracts.errors import ParameterError
from medallion_contracts.loader import load_dataset
from medallion_ops.producer.dry_run import judge
from medallion_ops.producer.mappings import mapping_of, sources_of
from medallion_ops.producer.mappings.subscriptions import TelcoSubscriptions
from medallion_ops.producer.parameters import Parameters, Source
from medallion_ops.producer.plan import plan
from medallion_stack.layout import TELCO

SUBSCRIPTIONS = load_dataset("subscriptions")
SERVICES = SUBSCRIPTIONS.events.column("service").enum


def test_each_customer_of_the_telco_table_has_an_event_for_each_service() -> None:
    events = list(TelcoSubscriptions(TELCO))
    by_service = Counter(str(event.fields["service"]) for event in events)
    assert by_service == dict.fromkeys(SERVICES, 7_043)
    assert len({event.key for event in events}) == len(events) == 63_387
    first = {str(event.fields["service"]): event.fields for event in events[:9]}
    assert (first["phone"]["variant"], first["phone"]["is_active"]) == ("No", False)
    assert (first["multiple_lines"]["variant"], first["multiple_lines"]["is_active"]) == (
        "No phone service",
        False,
    )
    assert (first["internet"]["variant"], first["internet"]["is_active"]) == ("DSL", True)
    assert first["online_backup"]["is_active"] is True


def test_the_contract_accepts_what_the_mapping_makes_and_rejects_what_is_broken_for_its_reason() -> None:
    parameters = Parameters(Source.TELCO, TELCO, dataset="subscriptions", count=900, broken=12)
    records = list(plan(parameters, SUBSCRIPTIONS, timedelta(minutes=10)))
    verdicts = judge(records, SUBSCRIPTIONS, reject_unknown=True)
    meant = Counter(one.kind.removeprefix("broken:") for one in records if one.kind.startswith("broken:"))
    del meant["future"]  # needs the broker's clock
    assert verdicts.reasons == meant
    assert not verdicts.defaulted


def test_a_source_that_a_dataset_does_not_have_is_refused_with_those_it_has() -> None:
    parameters = Parameters(Source.SYNTHETIC, dataset="subscriptions", count=1)
    with pytest.raises(ParameterError, match="subscriptions has no synthetic, only telco, csv, jsonl"):
        plan(parameters, SUBSCRIPTIONS, timedelta(minutes=10))


def test_a_dataset_without_a_mapping_sends_files() -> None:
    assert mapping_of("orders") is None
    assert sources_of("orders") == (Source.CSV, Source.JSONL)
