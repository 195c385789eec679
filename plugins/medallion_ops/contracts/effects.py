"""What a change of contracts does, table by table, as text for a person."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from medallion_contracts.changes import Change, contract_changes, tables_of
from medallion_contracts.errors import ContractError
from medallion_contracts.model import Dataset
from medallion_store.contract_store import StoredContract
from medallion_store.refresh_plan import gold_contract_hash

_TYPE_CHANGES = ("widened", "narrowed", "partitions changed")


@dataclass(frozen=True)
class ContractPlan:
    """The way from one version of a dataset's contracts to another; `old` is None when there is none."""

    old: StoredContract | None
    new: StoredContract
    changes: tuple[Change, ...]
    is_refresh: bool
    """Whether all of gold is computed again."""
    accepted: frozenset[str] = frozenset()

    @property
    def breaking(self) -> tuple[Change, ...]:
        """The changes that break someone and that no one has accepted."""
        return tuple(one for one in self.changes if one.breaks and one.name not in self.accepted)


def contract_plan(
    old: StoredContract | None, new: StoredContract, accepted: Collection[str] = ()
) -> ContractPlan:
    """Compare two versions of a dataset's contracts.

    Args:
        old: that the platform runs on; None compares nothing.
        new: that it is to run on.
        accepted: names of breaking changes that a person accepted.

    Raises:
        ContractError: the new ones are not valid.
    """
    after = new.load()
    if old is None or old.contract_id == new.contract_id:
        return ContractPlan(old, new, (), is_refresh=False, accepted=frozenset(accepted))
    try:
        before = old.load()
    except ContractError as error:
        what = Change("events", "cannot be compared", f"the stored contracts: {error}", None, "readers")
        return ContractPlan(old, new, (what,), is_refresh=True, accepted=frozenset(accepted))
    return ContractPlan(
        old,
        new,
        tuple(contract_changes(before, after)),
        is_refresh=gold_contract_hash(before) != gold_contract_hash(after),
        accepted=frozenset(accepted),
    )


def described(plan: ContractPlan) -> Iterator[str]:
    """The plan as lines: each table with its changes and what becomes of it, then whom it breaks."""
    dataset, old = plan.new.load(), plan.old
    if old is None:
        yield f"{plan.new.dataset}: no contracts are known that it runs on: nothing to compare"
        return
    since = f" (in force since {old.in_force_since:%Y-%m-%d %H:%M} UTC)" if old.in_force_since else ""
    yield f"{plan.new.dataset}: contracts {old.contract_id}{since} -> {plan.new.contract_id}"
    if not plan.changes:
        yield "  no change of any table" + ("" if old.contract_id == plan.new.contract_id else ": only words")
        return
    for table in dict.fromkeys([*tables_of(dataset), *(one.table for one in plan.changes)]):
        changes = [one for one in plan.changes if one.table == table]
        if changes:
            yield f"  {table}"
            yield from (f"    {_line(one, plan)}" for one in changes)
            yield f"    => {_effect(table, changes, dataset, plan)}"
    yield "  rebuilt: " + (
        "all of gold, once, from all of silver by the next hourly run" if plan.is_refresh else "nothing"
    )
    if plan.breaking:
        yield "  BREAKS " + "; ".join(f"{one.breaks}: {one.name}" for one in plan.breaking)
    else:
        yield "  breaks: no one" + (" (accepted)" if plan.accepted else "")


def _line(change: Change, plan: ContractPlan) -> str:
    subject = f"{change.column} {change.what}" if change.column else change.what
    text = f"{subject}: {change.detail}" if change.detail else subject
    if not change.breaks:
        return text
    return f"{text}  [{'accepted' if change.name in plan.accepted else f'breaks {change.breaks}'}]"


def _effect(table: str, changes: list[Change], dataset: Dataset, plan: ContractPlan) -> str:
    types = [one for one in changes if one.what in _TYPE_CHANGES]
    if table == "events":
        return "the stream starts again by these contracts (make roll-out)"
    if table == "silver":
        if types:
            return (
                "silver cannot be changed in place: move its folder away, and trigger "
                f"{dataset.name}_rebuild, which makes it from bronze"
            )
        if any(one.what == "added" for one in changes):
            return (
                "the columns are added to the table; its rows stay, and are read as if they had been filled"
            )
        return "the table stays as it is"
    if any(one.what == "removed" and one.column is None for one in changes):
        return "the table stays in Postgres, and is written no more"
    if any(one.what == "narrowed" for one in types) or any(one.what == "key changed" for one in changes):
        return "migrations refuse this: add a file to migrations/versions that says how"
    if any(one.what in ("removed", "renamed") for one in changes):
        return "the old columns stay in Postgres, and are written no more"
    return "all rows are computed again and differing ones written" if plan.is_refresh else "rows stay"
