"""The local stack's broker itself."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from medallion_stack import broker
from medallion_stack.ports import free_port


def test_the_storage_is_formatted_whatever_the_cluster_id_begins_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(bytes=b"\xfb" + bytes(15)))
    one = broker.Broker(tmp_path, free_port(), free_port(), {})
    one.prepare()
    assert "cluster.id=-" in (tmp_path / "data" / "meta.properties").read_text()
