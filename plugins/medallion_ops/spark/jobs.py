"""Each Spark job of the platform: its entry script, arguments and share of the cluster.

Arguments hold nothing secret: anyone on a worker can read them in the list of processes. Secrets reach a
job by the file named in MEDALLION_SECRETS_FILE.
"""

from __future__ import annotations

from dataclasses import dataclass

from medallion_ops.kafka_settings import KafkaSettings
from medallion_ops.lake_settings import LakeSettings
from medallion_ops.settings import Settings
from medallion_ops.stream_settings import StreamSettings
from medallion_store.release import release


@dataclass(frozen=True)
class SparkJob:
    """One run of an entry script; `cores` are those of all its executors together.

    `makes_archive` says that its driver loads what other drivers load: see `class_archive`.
    """

    name: str
    script: str
    arguments: tuple[str, ...]
    cores: int
    executor_memory: str
    driver_memory: str
    makes_archive: bool = False


def stream_job(settings: Settings, dataset: str, *, submission: str, recover: bool = False) -> SparkJob:
    """The streaming job; it repeats `submission` in its heartbeat, so that Airflow finds its driver again.

    With `recover` it goes on from the ledger should its checkpoint be gone.
    """
    stream = settings.stream
    arguments = [
        *_lake(settings.lake, dataset),
        *_kafka(settings.kafka),
        *_option("--trigger-seconds", stream.trigger_seconds),
        *_option("--max-offsets-per-trigger", stream.max_offsets_per_trigger),
        *_option("--on-data-loss", stream.on_data_loss),
        *_option("--batch-hang-minutes", stream.batch_hang_minutes),
        *_verdicts(stream),
        *(["--recover-from-ledger"] if recover else []),
        *_option("--submission", submission),
    ]
    # Two cores and 2 GiB are what the default micro-batch is sized for.
    return SparkJob(
        f"{dataset}_streaming", "stream_to_silver.py", tuple(arguments), 2, settings.jobs.stream_memory, "1g"
    )


def gold_job(settings: Settings, dataset: str, *, run_id: str, full: bool = False) -> SparkJob:
    """Silver's increment, or with `full` all of it, to staging tables in Postgres."""
    arguments = [
        *_lake(settings.lake, dataset),
        *_option("--run-id", run_id),
        *_option("--churn-source", settings.gold.churn_source),
        *_option("--local-rows", settings.gold.local_rows),
        *(["--full"] if full else []),
    ]
    return SparkJob(
        f"{dataset}_gold",
        "silver_to_gold.py",
        tuple(arguments),
        2,
        settings.jobs.gold_memory,
        "1g",
        makes_archive=True,
    )


def rebuild_job(settings: Settings, dataset: str, *, mode: str, run_id: str) -> SparkJob:
    """Silver anew from bronze; `mode` is as-judged or judge-again."""
    arguments = [
        *_lake(settings.lake, dataset),
        *_option("--mode", mode),
        *_option("--run-id", run_id),
        *_verdicts(settings.stream),
    ]
    return SparkJob(
        f"{dataset}_rebuild", "rebuild_silver.py", tuple(arguments), 2, settings.jobs.stream_memory, "1g"
    )


def maintenance_job(settings: Settings, dataset: str, *, keep_from_version: int | None) -> SparkJob:
    """OPTIMIZE and VACUUM of the dataset's lake tables; keeps silver's changes from that version on.

    It does its work in the driver, and asks the cluster for nothing.
    """
    arguments = [*_lake(settings.lake, dataset), *_option("--keep-from-version", keep_from_version)]
    return SparkJob(f"{dataset}_maintenance", "maintain_lake.py", tuple(arguments), 1, "1g", "1g")


def _verdicts(stream: StreamSettings) -> list[str]:
    """What decides a record's verdict beside the contract: the same for the stream and for judging again."""
    return [
        *_option("--watermark-minutes", stream.watermark_minutes),
        *_option("--lateness", stream.lateness),
        *_option("--deduplicate", stream.deduplicate),
        *(["--reject-unknown-fields"] if stream.reject_unknown_fields else []),
    ]


def _lake(lake: LakeSettings, dataset: str) -> list[str]:
    return [
        *_option("--dataset", dataset),
        *_option("--release", release()),
        *_option("--lake-uri", lake.uri),
        *_option("--lake-auth", lake.auth),
        *_option("--lake-tenant-id", lake.tenant_id),
        *_option("--lake-client-id", lake.client_id),
        *_option("--lake-endpoint", lake.endpoint),
    ]


def _kafka(kafka: KafkaSettings) -> list[str]:
    return [
        *_option("--bootstrap", kafka.bootstrap),
        *_option("--kafka-security-protocol", kafka.security_protocol),
        *_option("--kafka-sasl-mechanism", kafka.sasl_mechanism),
        *_option("--kafka-username", kafka.username),
        *_option("--kafka-tenant-id", kafka.tenant_id),
        *_option("--kafka-ca-file", kafka.ca_file),
    ]


def _option(name: str, value: object | None) -> list[str]:
    # One word, as a value such as "-1" or "$ConnectionString" after a blank may be read as another option.
    return [] if value is None else [f"{name}={value}"]
