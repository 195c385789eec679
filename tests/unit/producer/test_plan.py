"""The records of a run: their times, and the faults in known numbers."""

import json
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medallion_contracts import reasons
from medallion_contracts.judge import EventJudge
from medallion_contracts.loader import load_dataset
from medallion_ops.producer.faults import Shares
from medallion_ops.producer.parameters import Amount, Parameters, Source
from medallion_ops.producer.plan import plan
from medallion_ops.producer.records import Planned
from medallion_ops.producer.timeline import SPREAD, live, spread_until

CUSTOMERS = load_dataset("customers")
WATERMARK = timedelta(minutes=10)
AS_OF = datetime(2026, 11, 1, 10, tzinfo=UTC)


def synthetic(count: int | None = 500, **changes: Any) -> list[Planned]:
    parameters = Parameters(Source.SYNTHETIC, count=count, **{"as_of": AS_OF, **changes})
    return list(plan(parameters, CUSTOMERS, WATERMARK))


def event_time(planned: Planned) -> datetime:
    return datetime.fromisoformat(json.loads(planned.record.value or b"")["updated_at"])


def of_kind(planned: Iterable[Planned], kind: str) -> list[Planned]:
    return [each for each in planned if each.kind == kind]


class TestTime:
    def test_events_that_share_an_as_of_end_at_it_and_each_is_later_than_the_one_before(self) -> None:
        moments = [event_time(event) for event in synthetic(count=1_000)]
        assert moments[-1] == AS_OF
        assert AS_OF - moments[0] < SPREAD
        assert all(earlier < later for earlier, later in pairwise(moments))

    def test_the_same_run_again_sends_the_same_bytes(self) -> None:
        faults: dict[str, Any] = {"broken": 24, "duplicated": 7, "late": 0.05}
        assert synthetic(**faults) == synthetic(**faults)
        assert synthetic(**faults) != synthetic(**faults, seed=1)

    def test_events_stay_a_microsecond_apart_however_many_there_are(self) -> None:
        count = 400_000_000  # more than the spread has microseconds
        timeline = spread_until(AS_OF, count)
        assert timeline(count - 1) == AS_OF
        assert timeline(1) - timeline(0) == timedelta(microseconds=1)

    def test_without_as_of_events_happen_when_they_are_sent_and_never_go_back(self) -> None:
        clock = iter([1_000_000_000, 1_000_000_000, 500_000_000, 2_000_000_000])
        now = live(lambda: next(clock))
        moments = [now(index) for index in range(4)]
        assert [each.timestamp() for each in moments] == [1.0, 1.000001, 1.000002, 2.0]


class TestFaults:
    def test_exact_numbers_are_sent_besides_all_events(self) -> None:
        sent = synthetic(broken=25, duplicated=13, late=9)
        kinds = Counter(each.kind.partition(":")[0] for each in sent)
        assert kinds == {"event": 500, "broken": 25, "duplicate": 13, "late": 9}

    def test_more_faults_than_events_are_possible(self) -> None:
        sent = synthetic(count=3, broken=24, duplicated=10, late=7)
        kinds = Counter(each.kind.partition(":")[0] for each in sent)
        assert kinds == {"event": 3, "broken": 24, "duplicate": 10, "late": 7}
        assert len({each.record.value for each in of_kind(sent, "late")}) == 7

    def test_each_broken_record_has_exactly_the_reason_that_is_counted(self) -> None:
        judge = EventJudge(CUSTOMERS.events)
        kept = set()
        for each in synthetic(broken=48):
            kind, _, reason = each.kind.partition(":")
            found = judge.judge(each.record.value).reasons
            if kind != "broken":
                assert found == ()
            elif reason == reasons.FUTURE:  # needs the broker's clock, which the judge does not have
                assert found == ()
                assert event_time(each) > AS_OF + timedelta(days=36_000)
            else:
                assert found == (reason,)
            kept.add(reason)
        assert {"malformed", "future", "missing:customer_id", "missing:updated_at"} < kept
        assert {reason.partition(":")[0] for reason in kept} >= {"type", "value"}

    def test_a_duplicate_is_an_earlier_event_byte_for_byte(self) -> None:
        seen = set()
        for each in synthetic(duplicated=50):
            if each.kind == "duplicate":
                assert each.record in seen
            seen.add(each.record)

    def test_a_late_version_is_valid_new_and_older_than_the_watermark_allows(self) -> None:
        sent = synthetic(late=40)
        late = of_kind(sent, "late")
        assert sent[-40:] == late, "after all others: much newer events of their partition came before"
        versions = Counter((each.record.key, event_time(each)) for each in sent)
        assert max(versions.values()) == 1, "no version of that customer and time was sent before"
        first = min(event_time(each) for each in sent if each.kind == "event")
        judge = EventJudge(CUSTOMERS.events)
        customers = {each.record.key for each in of_kind(sent, "event")}
        for each in late:
            assert judge.judge(each.record.value).reasons == ()
            assert each.record.key in customers
            # Older than even the oldest event of this run allows: whichever is compared with, it is late.
            assert event_time(each) < first - WATERMARK

    def test_an_endless_run_has_fractions_and_waits_for_no_end(self) -> None:
        parameters = Parameters(Source.SYNTHETIC, broken=0.1, duplicated=0.1, late=0.1)
        sent = list(islice(plan(parameters, CUSTOMERS, WATERMARK), 1_300))
        kinds = Counter(each.kind.partition(":")[0] for each in sent)
        assert kinds == {"event": 1_000, "broken": 100, "duplicate": 100, "late": 100}

    @given(st.integers(1, 2_000), st.one_of(st.integers(0, 5_000), st.floats(0, 1)))
    def test_shares_add_up_to_the_amount_and_are_spread_evenly(self, events: int, amount: Amount) -> None:
        shares = Shares(amount, events)
        after = [shares.after(index) for index in range(events)]
        assert sum(after) == (amount if isinstance(amount, int) else round(amount * events))
        assert max(after) - min(after) <= 1


class TestFiles:
    def test_a_loop_begins_again_until_the_count(self, tmp_path: Path) -> None:
        file = tmp_path / "events.jsonl"
        file.write_text('{"customer_id":"A"}\n{"customer_id":"B"}\n')
        parameters = Parameters(Source.JSONL, file, loop=True, count=5)
        keys = [each.record.key for each in plan(parameters, CUSTOMERS, WATERMARK)]
        assert keys == [b"A", b"B", b"A", b"B", b"A"]

    def test_a_count_ends_a_file_early_but_never_repeats_it(self, tmp_path: Path) -> None:
        file = tmp_path / "events.jsonl"
        file.write_text("1\n2\n3\n")
        for count, sent in ((9, 3), (2, 2), (None, 3)):
            records = plan(Parameters(Source.JSONL, file, count=count), CUSTOMERS, WATERMARK)
            assert sum(1 for _ in records) == sent

    def test_exact_faults_of_a_telco_table_follow_its_real_number_of_rows(self) -> None:
        table = Path(__file__).parents[3] / "docker" / "local" / "data" / "telco-customer-churn.csv"
        parameters = Parameters(Source.TELCO, table, count=9_999, broken=24, late=5, as_of=AS_OF)
        kinds = Counter(each.kind.partition(":")[0] for each in plan(parameters, CUSTOMERS, WATERMARK))
        assert kinds == {"event": 7043, "broken": 24, "late": 5}


@pytest.mark.parametrize("watermark", [timedelta(0), timedelta(days=365)])
def test_late_versions_follow_the_stream_s_watermark(watermark: timedelta) -> None:
    parameters = Parameters(Source.SYNTHETIC, count=100, late=5, as_of=AS_OF)
    sent = list(plan(parameters, CUSTOMERS, watermark))
    first = event_time(sent[0])
    assert all(event_time(each) < first - watermark for each in of_kind(sent, "late"))
