"""The contracts that the stream ran on lie whole beside the ledger, once for each version of them."""

from __future__ import annotations

import json
from pathlib import Path

from medallion_contracts.loader import load_dataset
from medallion_store.contract_store import StoredContract, keep_in_lake
from medallion_store.control_files import control_files
from medallion_store.lake_paths import LakePaths
from settings_of_tests import settings


def test_contracts_are_kept_beside_the_ledger_and_can_be_read_again(tmp_path: Path) -> None:
    lake = settings(LAKE_URI=str(tmp_path), LAKE_AUTH="none").lake
    files, paths, dataset = (
        control_files(lake.login),
        LakePaths(lake.uri, "customers"),
        load_dataset("customers"),
    )
    contract = StoredContract("customers", dataset.files)
    for _ in range(2):
        keep_in_lake(files, paths, contract)
    kept = list((tmp_path / "ledger/customers_contracts").glob("*.json"))
    assert [file.stem for file in kept] == [contract.contract_id]
    texts = json.loads(kept[0].read_text())
    again = StoredContract("customers", {name: text.encode() for name, text in texts.items()})
    assert again.contract_id == contract.contract_id
    assert again.load() == dataset
