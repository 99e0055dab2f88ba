"""The web application around the pages: who may ask, and the addresses that are not pages.

Streamlit checks the Host of websockets only; the middleware here refuses a foreign Host for plain requests too, so that a
web page elsewhere cannot reach this server by pointing its own name at 127.0.0.1.
"""

import importlib
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import plotly
import streamlit as st
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from dashboard.server import failures
from dashboard.server.access import Access, bracketed
from dashboard.server.borders import Borders
from dashboard.server.guard import LoginGuard, TokenGuard
from dashboard.server.table_report import report_html
from tabtune_core.errors import TableError
from tabtune_core.store.runs import default_home

PLOTLY_PATH = f"/lab/plotly-{plotly.__version__}.min.js"
PLOTLY_FILE = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
REPORT_PATH = "/lab/report/"


async def plotly_script(request: Request) -> Response:
    """plotly.js out of the installed Python package: no copy of ours, no content delivery network."""
    return FileResponse(PLOTLY_FILE, media_type="text/javascript", headers={"Cache-Control": "public, max-age=31536000, immutable"})


def first_page(request: Request) -> Response:
    """The page Data by its own name; as the first page it has none for Streamlit. Not from the root, which a proxy may have moved."""
    query = request.url.query
    return RedirectResponse(f"./?{query}" if query else "./")


def named_page(request: Request) -> Response:
    """Streamlit's page where it is opened by a name, told where the application begins: it would look below that name first."""
    page = (Path(st.__file__).parent / "static/index.html").read_text(encoding="utf-8")
    return HTMLResponse(page.replace("<head>", f"<head><script>{BASE}</script>", 1), headers={"Cache-Control": "no-cache"})


def report(request: Request) -> Response:
    """The picture of a table. Its cells are somebody's data, so the page is kept apart: its scripts reach nothing of ours."""
    try:
        html = report_html(default_home(), request.path_params["identity"])
    except TableError as error:
        return PlainTextResponse(str(error), status_code=404)
    return HTMLResponse(html, headers={"Content-Security-Policy": f"sandbox allow-scripts; {ALONE}"})


ALONE = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; font-src data:"
"""A page that asks no machine for anything, this server included."""
BASE = "window.__streamlit = {BACKEND_BASE_URL: new URL('.', location.href).href}"
PAGES = sorted({path.parent.name for path in (Path(__file__).parents[1] / "views").glob("*/page.py")} - {"data"})
ROUTES = [
    Route(PLOTLY_PATH, plotly_script),
    Route(REPORT_PATH + "{identity}", report),
    Route("/data", first_page),
    *(Route(f"/{name}", named_page) for name in PAGES),
]
"""Addresses of ours; what holds something lies below ``/lab/``, because who has not logged in reaches nothing there."""


NEEDED_FIRST = ("dashboard.queries", "sklearn.tree")
"""What takes longest to load of what the first two pages need."""


@asynccontextmanager
async def loading(app: object) -> AsyncIterator[None]:
    """Loads it once the server is up, while the person's browser starts."""
    threading.Thread(target=lambda: [importlib.import_module(name) for name in NEEDED_FIRST], name="loading", daemon=True).start()
    yield


def application(access: Access) -> st.App:
    """The pages with everything in front of them: first the Host, then the token or the log-in."""
    middleware = [
        Middleware(TrustedHostMiddleware, allowed_hosts=[bracketed(name) for name in access.names], www_redirect=False),
        Middleware(Borders),
    ]
    if access.token is not None:
        middleware.append(Middleware(TokenGuard, token=access.token))
    if access.login:
        middleware.append(Middleware(LoginGuard, emails=access.emails))
    return st.App(
        Path(__file__).parents[1] / "app.py",
        lifespan=loading,
        routes=ROUTES,
        middleware=middleware,
        on_script_error=failures.show,
        exception_handlers=failures.HANDLERS,
    )
