"""What a DAG's parameter `file` can read: a regular file below one folder, whatever is tried."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from pathlib import Path

import pytest

from medallion_contracts.errors import SourceError
from medallion_contracts.loader import load_dataset
from medallion_ops.producer.event_files import CsvEvents, JsonLines
from medallion_ops.producer.mappings.customers import TelcoCustomers
from medallion_ops.producer.parameters import Parameters, Source
from medallion_ops.producer.plan import plan
from medallion_ops.producer.source_file import SourceFile

MARKED = "marked-5ecret"
CUSTOMERS = load_dataset("customers")
LINE = b'{"customer_id": "C1"}\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The producer's folder; beside it a secret, in it a file."""
    (tmp_path / "secrets.env").write_text(f"PASSWORD={MARKED}\n")
    folder = tmp_path / "incoming"
    (folder / "deep").mkdir(parents=True)
    (folder / "events.jsonl").write_bytes(LINE)
    (folder / "deep" / "events.jsonl").write_bytes(LINE)
    return folder


@pytest.mark.parametrize("name", ["events.jsonl", "deep/events.jsonl", "deep/../events.jsonl"])
def test_a_file_in_the_folder_is_read_by_its_name_or_whole_path(folder: Path, name: str) -> None:
    for path in (Path(name), folder / name):
        assert [one.record.value for one in JsonLines(path, CUSTOMERS, folder)] == [LINE.strip()]


def test_a_link_within_the_folder_and_a_folder_that_is_a_link_are_fine(folder: Path, tmp_path: Path) -> None:
    (folder / "latest").symlink_to("deep/events.jsonl")
    (tmp_path / "link").symlink_to(folder)
    for place in (folder, tmp_path / "link"):
        assert JsonLines(Path("latest"), CUSTOMERS, place).check() == 1


def to_another_file(folder: Path) -> Path:
    (folder / "trap").symlink_to(folder.parent / "secrets.env")
    return Path("trap")


def through_another_folder(folder: Path) -> Path:
    (folder / "trap").symlink_to(folder.parent)
    return Path("trap/secrets.env")


def to_a_fifo(folder: Path) -> Path:
    os.mkfifo(folder / "trap")
    return Path("trap")


def to_a_socket(folder: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(folder / "trap"))
    return Path("trap")


OUTSIDE: dict[str, Callable[[Path], Path]] = {
    "a whole path": lambda folder: folder.parent / "secrets.env",
    "dots": lambda folder: Path("../secrets.env"),
    "dots in the middle": lambda folder: folder / "deep/../../secrets.env",
    "a folder with the same beginning": lambda folder: Path(f"{folder}-more/x"),
    "the environment": lambda folder: Path("/proc/self/environ"),
    "the environment by dots": lambda folder: Path("../" * 20 + "proc/self/environ"),
    "what is open already": lambda folder: Path("/dev/stdin"),
    "a device": lambda folder: Path("/dev/zero"),
    "a link": to_another_file,
    "a link to a folder": through_another_folder,
    "a fifo": to_a_fifo,
    "a socket": to_a_socket,
    "a folder": lambda folder: Path("deep"),
    "the folder itself": lambda folder: Path("."),
    "nothing": lambda folder: Path("none.csv"),
    "a null byte": lambda folder: Path("a\0b"),
    "a name without an end": lambda folder: Path("x" * 5000),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("way", OUTSIDE.values(), ids=OUTSIDE)
def test_nothing_else_is_read_and_the_message_quotes_neither_path_nor_content(
    folder: Path, way: Callable[[Path], Path]
) -> None:
    path = way(folder)
    for source in (JsonLines, CsvEvents):
        with pytest.raises(SourceError) as refused:
            source(path, CUSTOMERS, folder).check()
        assert MARKED not in str(refused.value)
        assert "secrets" not in str(refused.value)
        assert str(folder) in str(refused.value), "it says where files must be"


def test_a_link_that_is_swapped_all_the_time_never_opens_a_file_outside(folder: Path) -> None:
    trap, ended = folder / "trap", threading.Event()

    def swap() -> None:
        while not ended.is_set():
            for target in ("events.jsonl", folder.parent / "secrets.env"):
                draft = folder / "draft"
                draft.symlink_to(target)
                draft.replace(trap)

    swapper = threading.Thread(target=swap)
    swapper.start()
    read: set[bytes] = set()
    refused = tries = 0
    until = time.monotonic() + 60
    try:
        # A busy machine may let one thread run alone for long: until both were seen.
        while tries < 500 or (not (read and refused) and time.monotonic() < until):
            tries += 1
            try:
                with SourceFile(Path("trap"), folder).open() as file:
                    read.add(file.read())
            except SourceError:
                refused += 1
    finally:
        ended.set()
        swapper.join()
    assert read == {LINE}
    assert refused, "the trap was open at times"


@pytest.mark.parametrize(
    "content",
    [
        f"{MARKED},Yes,Yes,29.85,{MARKED}\nB,No,No,1,2\n",
        f'"{MARKED}"x,{MARKED}\n',
        f"{MARKED}\n\xff".encode("latin-1").decode("latin-1"),
        f"customer_id,updated_at,{MARKED}\n{MARKED}\n{MARKED},{MARKED}\n",
        f"{{{MARKED}" + "x" * 2_000_000,
        f"{MARKED}\0\n",
    ],
)
def test_no_message_quotes_a_file_without_a_header_or_one_that_is_damaged(
    tmp_path: Path, content: str
) -> None:
    (tmp_path / "file").write_bytes(content.encode("latin-1"))
    for source in (
        TelcoCustomers(Path("file"), 0, tmp_path),
        CsvEvents(Path("file"), CUSTOMERS, tmp_path),
        JsonLines(Path("file"), CUSTOMERS, tmp_path),
    ):
        with suppress(SourceError):
            source.check()
            continue
        with pytest.raises(SourceError) as refused:
            source.check()
        assert MARKED not in str(refused.value)
        assert MARKED not in str(refused.value.__cause__)


def test_a_looping_run_ends_when_its_file_was_emptied(folder: Path) -> None:
    asked = Parameters(source=Source.JSONL, file=Path("events.jsonl"), folder=folder, loop=True)
    from datetime import timedelta

    records = plan(asked, CUSTOMERS, timedelta(minutes=10))
    assert len(list(islice(records, 3))) == 3
    (folder / "events.jsonl").write_bytes(b"")
    with pytest.raises(SourceError, match="no events any more"):
        list(islice(records, 3))
