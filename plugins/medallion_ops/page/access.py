"""Who may see the page and who may change something: decided by Airflow's login and permissions.

A plugin's app is not behind Airflow's login by itself. To see the page takes the right to read the DAG
`platform_monitor`, to change incidents the right to edit it; a replay is started through Airflow's own API,
with the user's own rights.
"""

from __future__ import annotations

import hmac
from typing import Annotated
from urllib.parse import urlsplit

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import (
    AccessView,
    DagAccessEntity,
    DagDetails,
)
from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import Depends, HTTPException, Request

from medallion_store.secret import Secret

MONITOR_DAG = "platform_monitor"
FORM_HEADER = "X-Medallion-Form"


def may_edit(user: BaseUser) -> bool:
    """Whether a user may acknowledge and mute incidents and plan maintenance."""
    return get_auth_manager().is_authorized_dag(
        method="PUT", details=DagDetails(id=MONITOR_DAG), user=user
    ) and may_start(user, MONITOR_DAG)


def may_start(user: BaseUser, dag_id: str) -> bool:
    """Whether Airflow's API lets a user start runs of a DAG.

    Args:
        user: as logged in.
        dag_id: which.
    """
    return get_auth_manager().is_authorized_dag(
        method="POST", access_entity=DagAccessEntity.RUN, details=DagDetails(id=dag_id), user=user
    )


def reader(user: GetUserDep) -> BaseUser:
    """The logged-in user, who may see the page.

    Raises:
        HTTPException: 401 without a login, 403 without the permission.
    """
    manager = get_auth_manager()
    may_see = manager.is_authorized_view(access_view=AccessView.WEBSITE, user=user)
    if not may_see or not manager.is_authorized_dag(
        method="GET", details=DagDetails(id=MONITOR_DAG), user=user
    ):
        raise HTTPException(403, f"You need the right to read the DAG {MONITOR_DAG}.")
    return user


Reader = Annotated[BaseUser, Depends(reader)]


def editor(request: Request, user: Reader) -> BaseUser:
    """The logged-in user, who may change incidents, and who sent this form from this page.

    Raises:
        HTTPException: 403 without the permission, or when another site sent the request.
    """
    # A form of another site can send the login's cookie, but neither this header nor our origin.
    origin = urlsplit(request.headers.get("Origin", "")).netloc
    if FORM_HEADER not in request.headers or (origin and origin != request.headers.get("Host")):
        raise HTTPException(403, "Only the page itself may send this.")
    if not may_edit(user):
        raise HTTPException(403, f"You need the right to edit the DAG {MONITOR_DAG}.")
    return user


Editor = Annotated[BaseUser, Depends(editor)]


def has_token(request: Request, token: Secret | None) -> bool:
    """Whether a request carries the token of the metrics.

    Args:
        request: with `Authorization: Bearer ...`.
        token: of the setting; None admits no one.
    """
    given = request.headers.get("Authorization", "")
    wanted = f"Bearer {token.reveal()}" if token else ""
    return bool(wanted) and hmac.compare_digest(given.encode(), wanted.encode())
