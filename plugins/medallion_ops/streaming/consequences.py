"""What it means for the records that a stream stands still, by the error that it left."""

from __future__ import annotations

from medallion_contracts.errors import MissingTopic, OtherLogError, RecordsLost

WAITS = "New events wait in Kafka and are not in silver yet. Nothing is lost while Kafka keeps them."
_BY_KIND = {
    OtherLogError.__name__: (
        "What the old log held and the stream had not read went with it; what is in the lake stays. The log "
        "that is there now is not read before a person accepts it."
    ),
    MissingTopic.__name__: (
        "What the topic held and the stream had not read went with it; what is in the lake stays. No event "
        "can be sent before the topic is there again."
    ),
    RecordsLost.__name__: (
        "Kafka no longer has records that the stream had not read; what is in the lake stays. New events "
        "wait and are not in silver yet."
    ),
}


def stream_consequence(kind: str | None) -> str:
    """What an error of this class means; None for one that is not the platform's own."""
    return _BY_KIND.get(kind or "", WAITS)
