"""What the contract would reject of a run, without sending anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from medallion_contracts.judge import EventJudge
from medallion_contracts.model import Dataset
from medallion_ops.producer.records import Planned

_EXAMPLES = 5


@dataclass
class Verdicts:
    """The contract's verdicts on the records of a plan.

    The rules that need Kafka's coordinates or earlier records (`future`, `conflict`, late, duplicate) are not
    among them. A record with several faults counts under each of its reasons.

    Attributes:
        records: Records judged.
        rejected: Records with at least one reason.
        reasons: Records by reason.
        examples: By reason, where the first of them come from.
        defaulted: Records by field that the contract's default fills.
        unknown: Records by field that the contract does not know.
    """

    records: int = 0
    rejected: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    defaulted: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        """The verdicts as JSON-ready values."""
        return {
            "records": self.records,
            "rejected": self.rejected,
            "reasons": {
                reason: {"records": number, "first": self.examples[reason]}
                for reason, number in self.reasons.most_common()
            },
            "defaulted": dict(self.defaulted.most_common()),
            "unknown": dict(self.unknown.most_common()),
        }

    def as_text(self) -> str:
        """The verdicts for a person."""
        lines = [f"{self.records:,} records, {self.rejected:,} would be rejected"]
        for reason, number in self.reasons.most_common():
            first = ", ".join(self.examples[reason])
            lines.append(f"  {reason}: {number:,} ({first}{', ...' if number > _EXAMPLES else ''})")
        for title, numbers in (("filled by default", self.defaulted), ("not in the contract", self.unknown)):
            if numbers:
                shown = ", ".join(f"{name} {number:,}" for name, number in numbers.most_common())
                lines.append(f"  {title}: {shown}")
        return "\n".join(lines)


def judge(records: Iterable[Planned], dataset: Dataset, *, reject_unknown: bool) -> Verdicts:
    """The verdicts of `dataset`'s events contract; the same judge as the stream's."""
    event_judge = EventJudge(dataset.events, reject_unknown=reject_unknown)
    verdicts = Verdicts()
    for planned in records:
        judgement = event_judge.judge(planned.record.value)
        verdicts.records += 1
        verdicts.rejected += bool(judgement.reasons)
        verdicts.defaulted.update(judgement.defaulted)
        verdicts.unknown.update(judgement.unknown)
        for reason in judgement.reasons:
            verdicts.reasons[reason] += 1
            examples = verdicts.examples.setdefault(reason, [])
            if len(examples) < _EXAMPLES:
                examples.append(planned.origin)
    return verdicts
