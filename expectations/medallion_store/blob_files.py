"""Control files in ADLS Gen2, through its blob service."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from medallion_contracts.errors import ServiceUnavailable
from medallion_store.lake_login import LakeLogin, blob_store_options
from medallion_store.stored_file import StoredFile, object_of, parse_object

_ANSWER_SECONDS = 10
_RETRY_SECONDS = 20


class BlobFiles:
    """Files of ADLS Gen2, through its blob service."""

    def __init__(self, login: LakeLogin) -> None:
        self._login = login
        self._stores: dict[str, Any] = {}

    def load(self, path: str) -> StoredFile:
        """See ControlFiles."""
        import obstore

        store, name = self._open(path)
        with _explained(self._login, path):
            try:
                answer = obstore.get(store, name)
                return StoredFile(parse_object(bytes(answer.bytes())), answer.meta["e_tag"])
            except FileNotFoundError:
                return StoredFile(None, None)

    def read(self, path: str) -> dict[str, Any] | None:
        """See ControlFiles."""
        return object_of(self.load(path), path)

    def write(self, path: str, content: Mapping[str, Any]) -> str:
        """See ControlFiles."""
        tag = self._put(path, content, "overwrite")
        assert tag is not None, "a put without a condition cannot fail by one"  # noqa: S101
        return tag

    def create(self, path: str, content: Mapping[str, Any]) -> str | None:
        """See ControlFiles."""
        return self._put(path, content, "create")

    def replace(self, path: str, content: Mapping[str, Any], tag: str) -> str | None:
        """See ControlFiles."""
        return self._put(path, content, {"e_tag": tag})

    def delete(self, path: str) -> None:
        """See ControlFiles."""
        import obstore

        store, name = self._open(path)
        with _explained(self._login, path), contextlib.suppress(FileNotFoundError):
            obstore.delete(store, name)

    def _put(self, path: str, content: Mapping[str, Any], mode: Any) -> str | None:
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        store, name = self._open(path)
        body = json.dumps(content).encode()
        with _explained(self._login, path):
            try:
                return str(obstore.put(store, name, body, mode=mode)["e_tag"])
            except (AlreadyExistsError, PreconditionError):
                pass
        # The client repeats a put whose answer was lost, and finds its own first one.
        present = self.load(path)
        return present.tag if present.content == json.loads(body) else None

    def _open(self, path: str) -> tuple[Any, str]:
        from obstore.store import AzureStore

        parts = urlsplit(path)
        container = parts.username or ""
        if container not in self._stores:
            self._stores[container] = AzureStore(
                container,
                config=blob_store_options(self._login),  # type: ignore[arg-type]  # all of them are known
                client_options={
                    "allow_http": self._login.endpoint is not None,
                    "timeout": timedelta(seconds=_ANSWER_SECONDS),
                    "connect_timeout": timedelta(seconds=_ANSWER_SECONDS / 2),
                },
                retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=_RETRY_SECONDS)},
            )
        return self._stores[container], parts.path.lstrip("/")


@contextlib.contextmanager
def _explained(login: LakeLogin, path: str) -> Iterator[None]:
    from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

    try:
        yield
    except (AlreadyExistsError, PreconditionError, FileNotFoundError):
        raise
    except (BaseError, OSError) as error:
        # The class only: a client library's message may quote signed headers.
        raise ServiceUnavailable(
            f"the lake does not answer for {path} ({type(error).__name__}): check MEDALLION_LAKE_URI, "
            f"MEDALLION_LAKE_AUTH ({login.auth}) and that its identity may write blobs"
        ) from None
