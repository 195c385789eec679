"""The archive of a driver's classes: written once for each set of jars, and used when it is ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from medallion_ops.spark.class_archive import ClassArchive
from medallion_ops.spark.jobs import gold_job, maintenance_job
from medallion_ops.spark.settings import SparkSettings
from medallion_ops.spark.submission import local_conf
from settings_of_tests import settings

GOLD = gold_job(settings(), "customers", run_id="run")
MAINTENANCE = maintenance_job(settings(), "customers", keep_from_version=None)


@pytest.fixture
def spark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SparkSettings:
    """Settings with a jar in a folder of their own, and a folder for jobs."""
    monkeypatch.setenv("SPARK_LOCAL_DIRS", str(tmp_path / "local"))
    jars, job = tmp_path / "jars", tmp_path / "local" / "job"
    jars.mkdir()
    job.mkdir(parents=True)
    (jars / "delta.jar").write_bytes(b"classes")
    return replace(settings().spark, jars=jars)


def options(spark: SparkSettings, job: object = GOLD) -> str:
    conf = local_conf(spark, job, job_of(spark))  # type: ignore[arg-type]
    return conf["spark.driver.extraJavaOptions"]


def job_of(spark: SparkSettings) -> Path:
    return spark.jars.parent / "local" / "job"


def written(spark: SparkSettings) -> ClassArchive:
    """What a gold job leaves that has ended well."""
    archive = ClassArchive.of(spark, job_of(spark))
    archive.draft.write_bytes(b"archive")
    archive.keep()
    return archive


def test_the_second_gold_job_writes_what_is_missing_and_every_job_uses_what_is_there(
    spark: SparkSettings,
) -> None:
    assert "Archive" not in options(spark), "somebody waits for the first"
    ClassArchive.of(spark, job_of(spark)).keep()
    assert "-XX:ArchiveClassesAtExit=" in options(spark)
    assert "Archive" not in options(spark, MAINTENANCE)
    archive = written(spark)
    for job in (GOLD, MAINTENANCE):
        assert f"-XX:SharedArchiveFile={archive.path}" in options(spark, job)
        assert "ArchiveClassesAtExit" not in options(spark, job)


def test_a_job_that_was_killed_leaves_none(spark: SparkSettings) -> None:
    for _ in range(2):
        ClassArchive.of(spark, job_of(spark)).keep()
        assert "-XX:ArchiveClassesAtExit=" in options(spark)


def test_other_jars_get_another_archive_in_place_of_the_one_before(spark: SparkSettings) -> None:
    before = written(spark)
    (spark.jars / "delta.jar").write_bytes(b"other classes")
    assert "SharedArchiveFile" not in options(spark)
    after = written(spark)
    assert after.path.exists()
    assert list(after.path.parent.glob("medallion-classes-*")) == [after.path]
    assert before.path != after.path


def test_an_archive_that_others_may_write_is_not_used(spark: SparkSettings) -> None:
    written(spark).path.chmod(0o666)
    assert "SharedArchiveFile" not in options(spark)


def test_a_folder_with_a_blank_takes_none(spark: SparkSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARK_LOCAL_DIRS", str(spark.jars.parent / "a folder"))
    assert "Archive" not in options(spark)
