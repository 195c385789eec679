"""What fault tests share: the table of what was found."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fault.findings import FaultTable


@pytest.fixture(scope="session")
def fault_table() -> Iterator[FaultTable]:
    """Rows of all tests of the run; printed and kept when it ends."""
    table = FaultTable()
    yield table
    if table.rows:
        table.write("fault")
