"""How the platform's Python side connects to Kafka: options from the settings, errors people understand."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kafka import KafkaAdminClient, KafkaProducer
from kafka.errors import (
    AuthorizationError,
    KafkaError,
    KafkaTimeoutError,
    RequestTimedOutError,
    SaslAuthenticationFailedError,
)
from kafka.net.sasl.oauth import AbstractTokenProvider

from medallion_contracts.errors import ServiceUnavailable, SettingsError
from medallion_ops.kafka_settings import KafkaSettings
from medallion_ops.producer.records import MAX_REQUEST_BYTES

CONNECT_MS = 15_000
DELIVERY_MS = 120_000
_OUT_OF_TIME = (KafkaTimeoutError, RequestTimedOutError)
_QUIET_SECONDS = 5.0
log = logging.getLogger(__name__)


class _EntraTokens(AbstractTokenProvider):  # type: ignore[misc]  # kafka-python has no types
    """Tokens of a service principal for an Event Hubs namespace; azure-identity keeps and renews them."""

    def __init__(self, settings: KafkaSettings) -> None:
        from azure.identity import ClientSecretCredential

        secret = settings.password.reveal() if settings.password else ""
        self._credential = ClientSecretCredential(settings.tenant_id or "", settings.username or "", secret)
        namespace = settings.bootstrap.split(",")[0].rpartition(":")[0]
        self._scope = f"https://{namespace}/.default"

    def token(self) -> str:
        return self._credential.get_token(self._scope).token


def kafka_client_options(settings: KafkaSettings) -> dict[str, Any]:
    """Keyword arguments of any kafka-python client: address, login, and the times that Event Hubs needs.

    Raises:
        SettingsError: The file of certificates cannot be read.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap.split(","),
        "security_protocol": settings.security_protocol,
        "bootstrap_timeout_ms": CONNECT_MS,
        "reconnect_backoff_max_ms": 2_000,  # a broker that is back is found at once, not after half a minute
        "request_timeout_ms": 60_000,
        "metadata_max_age_ms": 180_000,
        "connections_max_idle_ms": 180_000,  # Event Hubs closes after 240 s without a word
    }
    if settings.security_protocol in ("SSL", "SASL_SSL"):
        options["ssl_context"] = _ssl_context(settings)
    if settings.sasl_mechanism == "OAUTHBEARER":
        options.update(sasl_mechanism="OAUTHBEARER", sasl_oauth_token_provider=_EntraTokens(settings))
    elif settings.sasl_mechanism is not None:
        options.update(
            sasl_mechanism=settings.sasl_mechanism,
            sasl_plain_username=settings.username,
            sasl_plain_password=settings.password.reveal() if settings.password else None,
        )
    return options


def _ssl_context(settings: KafkaSettings) -> ssl.SSLContext:
    """Made here, because the client would try an unreadable file again until its time is over."""
    try:
        return ssl.create_default_context(cafile=settings.ca_file)
    except OSError as error:  # ssl.SSLError is one
        problem = (
            f"MEDALLION_KAFKA_CA_FILE: {settings.ca_file} is no readable PEM file ({error.strerror or error})"
        )
        raise SettingsError("the settings are not valid", [problem]) from error


class _Troubles(logging.Handler):
    """Takes what kafka-python logs, line after line while it cannot connect.

    Passes one line in a while on, and keeps the reason: the error that ends it only says that time is over.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.reason: BaseException | None = None
        self._quiet_until = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        for argument in record.args or ():
            # The last attempt is cut short by the end of the time there was: that tells nothing.
            if isinstance(argument, BaseException) and not isinstance(argument, _OUT_OF_TIME):
                self.reason = argument
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + _QUIET_SECONDS
            log.warning("Kafka client: %s", record.getMessage())


_troubles = _Troubles()
_client_log = logging.getLogger("kafka")
# Below this level kafka-python logs passwords and every customer it sends, whatever the root logger's level.
_client_log.setLevel(logging.WARNING)
_client_log.propagate = False
_client_log.addHandler(_troubles)
# Its warning of a slow event loop only tells that the machine is busy.
logging.getLogger("kafka.net.selector").setLevel(logging.ERROR)


@contextmanager
def broker_errors(settings: KafkaSettings) -> Iterator[None]:
    """Turn kafka-python's errors into ServiceUnavailable with address, reason and setting to look at.

    Raises:
        ServiceUnavailable: A Kafka call in the block failed.
    """
    _troubles.reason = None
    try:
        yield
    except (KafkaError, OSError) as error:
        reason = _troubles.reason if isinstance(error, _OUT_OF_TIME) and _troubles.reason else error
        raise ServiceUnavailable(f"Kafka at {settings.bootstrap}: {_explained(reason, settings)}") from error


def _explained(reason: BaseException, settings: KafkaSettings) -> str:
    # kafka-python often loses the broker's last word when it comes together with the end of the connection.
    is_cut_off = settings.sasl_mechanism is not None and "socket disconnected" in str(reason)
    if is_cut_off or isinstance(reason, SaslAuthenticationFailedError):
        return (
            f"the broker refuses the login{' or hangs up' if is_cut_off else ''}; see "
            "MEDALLION_KAFKA_USERNAME, MEDALLION_KAFKA_PASSWORD and MEDALLION_KAFKA_SASL_MECHANISM"
        )
    if isinstance(reason, AuthorizationError):
        return f"the login may not do this ({type(reason).__name__}); see MEDALLION_KAFKA_USERNAME"
    return (
        f"no answer within {CONNECT_MS // 1000} s ({reason}); is the broker running, "
        "MEDALLION_KAFKA_BOOTSTRAP its address and MEDALLION_KAFKA_SECURITY_PROTOCOL its protocol?"
    )


def open_admin(settings: KafkaSettings) -> KafkaAdminClient:
    """A connected admin client; close it.

    Raises:
        ServiceUnavailable: No broker answers in 15 s, or it refuses the login.
    """
    with broker_errors(settings):
        return KafkaAdminClient(**kafka_client_options(settings))


def open_producer(
    settings: KafkaSettings, max_request_bytes: int = MAX_REQUEST_BYTES, *, one_by_one: bool = False
) -> KafkaProducer:
    """A connected producer that waits for all replicas, idempotent unless `one_by_one`; close it.

    Args:
        settings: The broker.
        max_request_bytes: Largest record that is sent, its framing included.
        one_by_one: Whether each record is a batch of its own: a broker that finds one too large refuses the
            whole batch, and says of no record that it is the one.

    Raises:
        ServiceUnavailable: No broker answers in 15 s, or it refuses the login.
    """
    with broker_errors(settings):
        return KafkaProducer(
            **kafka_client_options(settings),
            acks="all",
            # An idempotent client gives up all that is under way when the broker refuses one record; without,
            # a retry may store a record twice, which the stream takes for the duplicate it is.
            enable_idempotence=not one_by_one,
            max_in_flight_requests_per_connection=1 if one_by_one else 5,
            allow_auto_create_topics=False,
            max_request_size=max_request_bytes,
            max_block_ms=CONNECT_MS,
            delivery_timeout_ms=DELIVERY_MS,
            # Event Hubs takes no compressed batches from this client. Larger batches that may wait a moment
            # make one producer twice as fast.
            linger_ms=0 if one_by_one else 20,
            batch_size=0 if one_by_one else min(128 * 1024, max_request_bytes),
        )
