"""What the optional fields that a record lacks become, for many records at once; see `EventJudge`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from medallion_contracts.compile.arrow import arrow_schema
from medallion_contracts.event_fields import decimal_digits, factors
from medallion_contracts.model import Column, ColumnType, Table

NAMES = pa.list_(pa.string())
_BITS = 63


class AbsentFields:
    """Fills the absent fields of an events contract's records."""

    def __init__(self, events: Table) -> None:
        self._events = events
        self._schema = arrow_schema(events)
        self._optional = [column for column in events.columns if not column.required]
        self._defaults = {
            column.name: pa.scalar(column.default).cast(self._schema.field(column.name).type)
            for column in self._optional
            if column.default is not None
        }

    def fill(self, given: Mapping[str, pa.Array]) -> tuple[dict[str, pa.Array], pa.ListArray]:
        """Defaults first, then what is derived from others.

        Args:
            given: every field's values, null where a record lacks it.

        Returns:
            the same fields, null only where the contract says so (or where a field that is required is
            missing), and for each record the names of those filled, in the contract's order.

        Raises:
            pa.ArrowInvalid: a derived value does not fit its type.
        """
        filled: dict[str, pa.Array] = {
            name: values.fill_null(self._defaults[name])
            if name in self._defaults and values.null_count
            else values
            for name, values in given.items()
        }
        lacking = [c for c in self._optional if c.always_has_value and given[c.name].null_count]
        for column in lacking:
            if column.transform is not None:
                filled[column.name] = pc.coalesce(
                    given[column.name], self._derived(column, given[column.name].is_null(), filled)
                )
        return filled, _names_of_nulls(given, [column.name for column in lacking])

    def _derived(
        self, column: Column, is_absent: pa.BooleanArray, filled: Mapping[str, pa.Array]
    ) -> pa.Array:
        product = reduce(
            pc.multiply,
            (
                filled[name].cast(pa.decimal128(*decimal_digits(self._events.column(name))))
                for name in factors(column)
            ),
        )
        # Only where it is wanted: elsewhere it may not fit the type.
        product = pc.if_else(is_absent, product, pa.scalar(None, product.type))
        wanted = self._schema.field(column.name).type
        if column.type is not ColumnType.DECIMAL:
            product = product.cast(pa.int64())
        return product.cast(wanted)


def _names_of_nulls(given: Mapping[str, pa.Array], names: list[str]) -> pa.ListArray:
    """For each record those of the names whose field is null: as few lists as there are combinations."""
    rows = len(next(iter(given.values())))
    if all(given[name].null_count == rows for name in names):
        return pa.array([names], NAMES).take(pa.repeat(pa.scalar(0, pa.int32()), rows))
    are_null = np.column_stack([given[name].is_null().to_numpy(zero_copy_only=False) for name in names])
    if len(names) < _BITS:
        combinations = are_null @ (1 << np.arange(len(names), dtype=np.int64))
        _, first, codes = np.unique(combinations, return_index=True, return_inverse=True)
    else:
        _, first, codes = np.unique(are_null, axis=0, return_index=True, return_inverse=True)
    lists = [[name for name, is_null in zip(names, are_null[row], strict=True) if is_null] for row in first]
    return pa.array(lists, NAMES).take(pa.array(codes.reshape(-1)))
