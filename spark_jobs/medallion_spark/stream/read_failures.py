"""Why records could not be read, in words of their coordinates instead of a stack trace's."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping

from medallion_contracts.errors import RecordsLost, StreamError
from medallion_spark.stream.offset_account import lost_offsets, refuse_losses
from medallion_spark.stream.topic_log import TopicLog, Where

logger = logging.getLogger(__name__)

_OVERFLOW = re.compile(r"Record at topic (\S+) partition (\d+) offset (\d+) has timestamp value (-?\d+)")
_DATA_LOSS = re.compile(r"may have been lost|may have been missed|OffsetOutOfRange")


def reading_failure(
    error: BaseException, next_offsets: Callable[[], Mapping[Where, int]], log: TopicLog
) -> StreamError | None:
    """The error that an operator can act on; None when it is of another kind.

    Args:
        error: of a query or a batch.
        next_offsets: gives the first not read yet, by partition.
        log: the broker's side.
    """
    text = str(error)
    if found := _OVERFLOW.search(text):
        topic, partition, offset, timestamp = found.groups()
        return StreamError(
            f"the record at offset {offset} of {topic}-{partition} has the time {timestamp} (milliseconds "
            f"since 1970), which Spark cannot represent, so it can never be read: remove what is before "
            f"offset {int(offset) + 1} from that partition (kafka-delete-records.sh), start with "
            "MEDALLION_ON_DATA_LOSS=count, and send the records that the ledger then counts as lost again; "
            "message.timestamp.type=LogAppendTime on the topic keeps such times out"
        )
    if _DATA_LOSS.search(text):
        try:
            refuse_losses(lost_offsets(next_offsets(), log))
        except RecordsLost as reason:
            return reason
        except Exception as another:
            # What failed first is what is to be told.
            logger.warning("what is lost could not be counted: %s", type(another).__name__)
    return None
