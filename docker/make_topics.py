"""Makes the Kafka topics of the datasets that run; those that exist stay as they are."""

from __future__ import annotations

from medallion_contracts.loader import load_dataset
from medallion_ops.dataset_settings import datasets_that_run
from medallion_ops.kafka_settings import KafkaSettings
from medallion_ops.producer.topic import create_topic


def main() -> None:
    """Make them and say so."""
    settings = KafkaSettings.from_environment()
    for dataset in map(load_dataset, datasets_that_run()):
        for name in (dataset.topic, dataset.replay_topic):
            topic = create_topic(settings, name)
            print(f"topic {topic.name}: {topic.partitions} partitions")  # noqa: T201 - a command's output


if __name__ == "__main__":
    main()
