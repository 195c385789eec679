"""The plugin that puts the page "Medallion" into Airflow's navigation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from functools import cache
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from medallion_ops.gate.docs_location import PAGE_PREFIX as PREFIX

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Scope]]
_Send = Callable[[_Scope], Awaitable[None]]


@cache
def _page() -> Any:
    from medallion_ops.page.app import create_app

    return create_app()


class PageApp:
    """The page's ASGI app, made at the first request: all processes load plugins, one serves them."""

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Serve a request."""
        await _page()(scope, receive, send)


_APP = {"app": PageApp(), "url_prefix": PREFIX, "name": "Medallion"}
_VIEW = {
    "name": "Medallion",
    # Relative to Airflow's own base address, which may have a path.
    "href": f"{PREFIX.lstrip('/')}/",
    "destination": "nav",
    "nav_top_level": True,
    "url_route": "medallion",
    "icon": f"{PREFIX.lstrip('/')}/static/icon.svg",
    "icon_dark_mode": f"{PREFIX.lstrip('/')}/static/icon-dark.svg",
}


class MedallionPlugin(AirflowPlugin):
    """The page and its entry in the navigation."""

    name = "medallion"
    fastapi_apps = [_APP]  # noqa: RUF012 - no class variable in the base class
    external_views = [_VIEW]  # noqa: RUF012
