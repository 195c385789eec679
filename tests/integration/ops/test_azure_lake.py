"""Control files and Delta tables in an Azure lake: Azurite's blob service."""

from __future__ import annotations

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from lease_race import lease_winners
from medallion_contracts.errors import ServiceUnavailable
from medallion_ops.lake_settings import LakeSettings
from medallion_store.control_files import control_files
from medallion_store.label_source import label_source_version
from medallion_store.lake_login import delta_storage_options
from medallion_store.lake_paths import LakePaths
from services import AzuriteServer


def lake(azurite: AzuriteServer, key: str = AzuriteServer.KEY) -> LakeSettings:
    return LakeSettings.from_environment(
        {
            "MEDALLION_LAKE_URI": azurite.URI,
            "MEDALLION_LAKE_AUTH": "shared_key",
            "MEDALLION_LAKE_ACCOUNT_KEY": key,
            "MEDALLION_LAKE_ENDPOINT": azurite.endpoint,
        }
    )


def test_a_control_file_is_written_replaced_read_and_deleted(azurite: AzuriteServer) -> None:
    files, path = control_files(lake(azurite).login), LakePaths(lake(azurite).uri, "customers").stop_request
    assert files.read(path) is None
    files.delete(path)
    for number in (1, 2):
        files.write(path, {"n": number})
        assert files.read(path) == {"n": number}
    files.delete(path)
    assert files.read(path) is None


def test_a_control_file_is_created_once_and_replaced_only_as_it_was_read(azurite: AzuriteServer) -> None:
    files, path = control_files(lake(azurite).login), f"{lake(azurite).uri}/control/conditional.json"
    first = files.create(path, {"n": 1})
    assert first is not None
    assert files.create(path, {"n": 2}) is None
    assert files.replace(path, {"n": 2}, first) is not None
    assert files.replace(path, {"n": 3}, first) is None
    stored = files.load(path)
    assert stored.content == {"n": 2}
    files.delete(path)
    assert files.replace(path, {"n": 3}, str(stored.tag)) is None


def test_a_put_whose_answer_was_lost_counts_as_done(azurite: AzuriteServer) -> None:
    files, path = control_files(lake(azurite).login), f"{lake(azurite).uri}/control/lost_answer.json"
    first = files.create(path, {"id": "mine"})
    assert files.create(path, {"id": "mine"}) == first
    assert files.create(path, {"id": "another's"}) is None


def test_of_two_processes_that_take_a_lease_at_once_one_has_it(azurite: AzuriteServer) -> None:
    assert [len(owners) for owners in lease_winners(lake(azurite).login, 15)] == [1] * 15


@pytest.mark.full
def test_of_two_processes_that_take_a_lease_at_once_one_has_it_200_times(azurite: AzuriteServer) -> None:
    assert [len(owners) for owners in lease_winners(lake(azurite).login, 200)] == [1] * 200


def test_deltalake_reads_and_writes_with_the_settings_login(azurite: AzuriteServer) -> None:
    here = lake(azurite)
    path, login = LakePaths(here.uri, "customers").bronze, delta_storage_options(here.login)
    for _ in range(3):  # from the third commit on, the log is listed from the middle
        write_deltalake(path, pa.table({"a": [1, 2]}), storage_options=login, mode="append")
    assert DeltaTable(path, storage_options=login).to_pyarrow_dataset().count_rows() == 6


def test_a_file_of_outcomes_in_azure_says_that_it_changed(azurite: AzuriteServer) -> None:
    here = lake(azurite)
    source, login = f"{here.uri}/outcomes/churn.csv", delta_storage_options(here.login)
    assert label_source_version(source, login, lambda parameters, query: None) is None
    markers = []
    for content in ({"a": 1}, {"a": 2}):
        control_files(here.login).write(source, content)  # any bytes do
        markers += [label_source_version(source, login, lambda parameters, query: None) for _ in range(2)]
    assert markers[0] == markers[1] != markers[2] == markers[3]


def test_a_refused_login_names_the_settings_and_never_the_key(azurite: AzuriteServer) -> None:
    wrong = "AAAA" + azurite.KEY[4:]
    with pytest.raises(ServiceUnavailable, match="MEDALLION_LAKE_AUTH") as raised:
        control_files(lake(azurite, wrong).login).read(LakePaths(lake(azurite).uri, "customers").lease)
    assert wrong not in str(raised.value)
