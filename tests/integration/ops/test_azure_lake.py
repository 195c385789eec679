"""Control files and Delta tables in an Azure lake: Azurite's blob service, where it is installed.

`npm install --prefix .cache/azurite azurite@3.35.0` installs it.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from medallion_contracts.errors import ServiceUnavailable
from medallion_contracts.lake import LakePaths
from medallion_ops.lake_files import delta_storage_options, lake_files
from medallion_ops.settings import LakeSettings
from medallion_stack.ports import LOOPBACK, free_port

# The key that every Azurite has, as its manual says.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
ACCOUNT = "devstoreaccount1"
CACHED = Path(__file__).parents[3] / ".cache/azurite/node_modules/.bin/azurite-blob"


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of a blob service with a container `lake`."""
    from azure.storage.blob import BlobServiceClient

    program = shutil.which("azurite-blob") or (str(CACHED) if CACHED.exists() else None)
    if program is None:
        pytest.skip("Azurite is not installed; the head of this file says how")
    port = free_port()
    where = (
        "--blobHost",
        LOOPBACK,
        "--blobPort",
        str(port),
        "--location",
        str(tmp_path_factory.mktemp("az")),
    )
    command = ["setpriv", "--pdeathsig", "KILL", program, "--silent", "--skipApiVersionCheck", *where]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port)
        login = {"account_name": ACCOUNT, "account_key": KEY}
        BlobServiceClient(f"http://{LOOPBACK}:{port}/{ACCOUNT}", credential=login).create_container("lake")
        yield f"{LOOPBACK}:{port}"
    finally:
        process.kill()
        process.wait()


def _wait_for(port: int) -> None:
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex((LOOPBACK, port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("Azurite did not start within 30 s")


def lake(endpoint: str, key: str = KEY) -> LakeSettings:
    return LakeSettings.from_environment(
        {
            "MEDALLION_LAKE_URI": f"abfss://lake@{ACCOUNT}.dfs.core.windows.net/medallion",
            "MEDALLION_LAKE_AUTH": "shared_key",
            "MEDALLION_LAKE_ACCOUNT_KEY": key,
            "MEDALLION_LAKE_ENDPOINT": endpoint,
        }
    )


def test_a_control_file_is_written_replaced_read_and_deleted(endpoint: str) -> None:
    files, path = lake_files(lake(endpoint)), LakePaths(lake(endpoint).uri, "customers").stop_request
    assert files.read(path) is None
    files.delete(path)
    for number in (1, 2):
        files.write(path, {"n": number})
        assert files.read(path) == {"n": number}
    files.delete(path)
    assert files.read(path) is None


def test_deltalake_reads_and_writes_with_the_settings_login(endpoint: str) -> None:
    here = lake(endpoint)
    path, login = LakePaths(here.uri, "customers").bronze, delta_storage_options(here)
    write_deltalake(path, pa.table({"a": [1, 2]}), storage_options=login)
    assert DeltaTable(path, storage_options=login).to_pyarrow_dataset().count_rows() == 2


def test_a_refused_login_names_the_settings_and_never_the_key(endpoint: str) -> None:
    wrong = "AAAA" + KEY[4:]
    with pytest.raises(ServiceUnavailable, match="MEDALLION_LAKE_AUTH") as raised:
        lake_files(lake(endpoint, wrong)).read(LakePaths(lake(endpoint).uri, "customers").lease)
    assert wrong not in str(raised.value)
