"""Which contracts gold runs on, and the guard that keeps a breaking change out until a person accepts it.

Crash points of a run that brings a change: before `migrate` nothing is changed; after it gold has the new
columns, and the next run finds the old contracts in force, checks the same change again and migrates nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Collection

from medallion_contracts.errors import BreakingChange, ParameterError
from medallion_contracts.loader import contract_files
from medallion_ops.contracts.effects import ContractPlan, contract_plan
from medallion_store.contract_store import (
    StoredContract,
    accept_changes,
    accepted_changes,
    contract_in_force,
    put_in_force,
)
from medallion_store.postgres import gold_connection
from medallion_store.secret import Secret

log = logging.getLogger(__name__)


def todays_contract(dataset: str) -> StoredContract:
    """The contracts of this code."""
    return StoredContract(dataset, contract_files(dataset))


def plan_of_change(dsn: Secret, new: StoredContract) -> ContractPlan:
    """From the contracts that gold runs on to new ones.

    Raises:
        ServiceUnavailable: Postgres does not answer.
    """
    with gold_connection(dsn) as connection:
        old = contract_in_force(connection, new.dataset)
        accepted = accepted_changes(connection, new)
    return contract_plan(old, new, accepted)


def refuse_breaking_change(dsn: Secret, dataset: str) -> ContractPlan:
    """Look what today's contracts change, before anything is done by them.

    Raises:
        BreakingChange: they break someone, and no one has accepted that; lists the names.
    """
    plan = plan_of_change(dsn, todays_contract(dataset))
    if plan.breaking:
        raise BreakingChange(
            f"the contracts of {dataset} change what others rely on: `make plan` says what happens; undo the "
            'change, or accept each by name (`make plan accept="NAME"`)',
            [f"{one.name} (breaks {one.breaks})" for one in plan.breaking],
        )
    return plan


def note_in_force(dsn: Secret, dataset: str) -> None:
    """Keep today's contracts as those that gold runs on, after it was brought forward."""
    contract = todays_contract(dataset)
    with gold_connection(dsn) as connection:
        if put_in_force(connection, contract):
            log.info("contracts in force: %s", contract.contract_id)


def accept(dsn: Secret, new: StoredContract, names: Collection[str], accepted_by: str) -> None:
    """Accept breaking changes by name.

    Raises:
        ParameterError: one is no breaking change of these contracts; lists those there are.
    """
    plan = plan_of_change(dsn, new)
    there = [one.name for one in plan.changes if one.breaks]
    unknown = [name for name in names if name not in there]
    if unknown:
        raise ParameterError(
            "nothing was accepted",
            [f"{name!r} is not one of: {'; '.join(there) or 'none, nothing breaks'}" for name in unknown],
        )
    with gold_connection(dsn) as connection:
        accept_changes(connection, new, names, accepted_by)
