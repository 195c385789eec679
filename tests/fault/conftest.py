"""What fault tests share: a broker of their own, and the table of what was found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fault.findings import FaultTable
from services import BrokerServer


@pytest.fixture
def fresh_broker(tmp_path: Path) -> Iterator[BrokerServer]:
    """A broker with empty topics that a test may kill."""
    server = BrokerServer(tmp_path / "broker")
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def fault_table() -> Iterator[FaultTable]:
    """Rows of all tests of the run; printed and kept when it ends."""
    table = FaultTable()
    yield table
    if table.rows:
        table.write("fault")
