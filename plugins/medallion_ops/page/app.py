"""The page's FastAPI app, mounted below Airflow: all is behind Airflow's login, the metrics behind a token.

The page itself is an empty frame; its parts are fetched by the browser at once, so that one that waits for
Postgres holds up no other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from fastapi import APIRouter, Depends, FastAPI, Form, HTTPException, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.base import RequestResponseEndpoint

from medallion_contracts.errors import MedallionError
from medallion_ops.dataset_settings import datasets_that_run
from medallion_ops.gate.docs_location import DOCS_FOLDER
from medallion_ops.gold_settings import GoldSettings
from medallion_ops.page import changes, views
from medallion_ops.page.access import Editor, Reader, has_token, may_edit, may_start, reader
from medallion_ops.page.database import reading
from medallion_ops.page.docs_files import docs_file, media_type
from medallion_ops.page.metrics import CONTENT_TYPE, exposition
from medallion_ops.page.rendering import render
from medallion_ops.page.settings import PageSettings

STATIC = Path(__file__).parent / "static"
_OURS = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
)
# Great Expectations writes styles into its pages; no script of theirs runs, whatever they quote.
_DOCS = (
    "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)

pages = APIRouter(dependencies=[Depends(reader)])
counters = APIRouter()


def create_app() -> FastAPI:
    """The app; what it shows is read at each request."""
    app = FastAPI(title="Medallion", docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(counters)
    app.include_router(pages)
    app.middleware("http")(_with_headers)
    app.add_exception_handler(StarletteHTTPException, _refused)
    app.add_exception_handler(MedallionError, _failed)
    return app


async def _with_headers(request: Request, call_next: RequestResponseEndpoint) -> Response:
    response = await call_next(request)
    response.headers.setdefault("Content-Security-Policy", _OURS)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def _refused(request: Request, error: Exception) -> Response:
    """People who follow a link get a page that says how to log in; programs get JSON."""
    status = getattr(error, "status_code", 500)
    reason = str(getattr(error, "detail", ""))
    if "text/html" not in request.headers.get("Accept", ""):
        return JSONResponse({"detail": reason}, status)
    login = get_auth_manager().get_url_login(next_url=str(request.url)) if status == 401 else None
    return HTMLResponse(render("refused", {"reason": reason, "login": login}), status)


def _failed(request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": str(error)}, 503)


@pages.get("/")
def frame(user: Reader) -> HTMLResponse:
    """The page without its parts."""
    parts = [(name, title) for name, (title, _) in views.PARTS.items()]
    replays = [name for name in datasets_that_run() if may_start(user, f"{name}_replay")]
    context = {"parts": parts, "datasets": datasets_that_run(), "replays": replays, "hours": views.HOURS}
    return HTMLResponse(render("page", context))


@pages.get("/parts/{name}")
def part(name: str, user: Reader) -> HTMLResponse:
    """One part of the page; says what is unreachable instead of failing."""
    if name not in views.PARTS:
        raise HTTPException(404, "There is no such part.")
    _, content = views.PARTS[name]
    try:
        with reading() as gold:
            context = content(gold)
    except MedallionError as error:
        return HTMLResponse(render("unreachable", {"reason": str(error)}))
    return HTMLResponse(render(name, context | {"may_edit": may_edit(user)}))


@pages.get("/charts/{dataset}")
def chart(dataset: str) -> dict[str, Any]:
    """Lag and throughput of a dataset."""
    if dataset not in datasets_that_run():
        raise HTTPException(404, "There is no such dataset.")
    with reading() as gold:
        return views.chart(gold, dataset)


@pages.get("/static/{name}")
def static(name: str) -> FileResponse:
    """Styles and scripts of the page."""
    path = next((one for one in STATIC.iterdir() if one.name == name), None)
    if path is None:
        raise HTTPException(404, "There is no such file.")
    return FileResponse(path, media_type=media_type(path), headers={"Cache-Control": "private, max-age=300"})


@pages.get("/runbook")
def runbook() -> HTMLResponse:
    """What to do about each kind of incident."""
    return HTMLResponse(render("runbook", {"paragraphs": views.runbook()}))


@pages.get(f"/{DOCS_FOLDER}/{{path:path}}")
def data_docs(path: str) -> FileResponse:
    """A file of the Data Docs."""
    folder = GoldSettings.from_environment().data_docs_dir
    found = docs_file(folder, path) if folder else None
    if found is None:
        raise HTTPException(404, "There is no such page: the Data Docs keep the newest sets.")
    return FileResponse(found, media_type=media_type(found), headers={"Content-Security-Policy": _DOCS})


@pages.post("/incidents/{incident_id}/acknowledge")
def acknowledge(incident_id: int, user: Editor) -> dict[str, str]:
    """Someone works on an incident."""
    return {"done": changes.acknowledge(incident_id, user.get_name())}


@pages.post("/incidents/{incident_id}/mute")
def mute(incident_id: int, user: Editor, hours: Annotated[float, Form(gt=0, le=168)] = 4) -> dict[str, str]:
    """Hold back an incident's mails."""
    return {"done": changes.mute(incident_id, user.get_name(), hours)}


@pages.post("/maintenance")
def maintenance(
    user: Editor,
    reason: Annotated[str, Form(min_length=3, max_length=200)],
    dataset: Annotated[str, Form()] = "",
    hours: Annotated[float, Form(gt=0, le=168)] = 1,
) -> dict[str, str]:
    """Plan work from now on."""
    if dataset and dataset not in datasets_that_run():
        raise HTTPException(404, "There is no such dataset.")
    return {"done": changes.plan_maintenance(dataset, user.get_name(), hours, reason)}


@counters.get("/metrics")
def metrics(request: Request) -> Response:
    """Numbers for Prometheus."""
    if not has_token(request, PageSettings.from_environment().metrics_token):
        raise HTTPException(
            401,
            "Send the token of MEDALLION_METRICS_TOKEN: Authorization: Bearer ...",
            {"WWW-Authenticate": "Bearer"},
        )
    return Response(exposition(), media_type=CONTENT_TYPE)
