"""The web application around the pages: access, addresses that are not pages, and errors meant for people.

Streamlit checks the Host of websockets only; the middleware here refuses a foreign Host (DNS rebinding) for all.
"""

import importlib
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import plotly
import streamlit as st
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.runtime.scriptrunner.script_runner import ScriptRunner
from streamlit.runtime.scriptrunner_utils.script_requests import RerunData

from dashboard.formatting import plain
from dashboard.server.guard import TokenGuard
from tabtune_core.access import Access, bracketed
from tabtune_core.errors import TabTuneError
from tabtune_core.shortage import shortage_of
from tabtune_core.store.runs import default_home


def show_error(error: Exception) -> bool:
    """Draws an error that is meant for people; returns False for a bug, which Streamlit then shows itself."""
    shown = error if isinstance(error, TabTuneError) else shortage_of(error, folder=default_home())
    if shown is not None:
        st.error(plain(str(shown)), icon=":material/warning:")
    return shown is not None


def leave_out_late_parts() -> None:
    """Makes Streamlit ignore a late click in a part of a page that was left; call it once.

    Streamlit 1.67 finds no such part once the new page is drawn, and would show the page that the request names.
    """
    carry_out = ScriptRunner._run_script

    def run_script(self: ScriptRunner, rerun_data: RerunData) -> None:
        asked = rerun_data.fragment_id_queue
        if not asked or any(self._fragment_storage.contains(part) for part in asked):
            carry_out(self, rerun_data)

    ScriptRunner._run_script = run_script  # type: ignore[method-assign]


PLOTLY_PATH = f"_lab/plotly-{plotly.__version__}.min.js"
PLOTLY_FILE = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"


async def plotly_script(request: Request) -> Response:
    """Serve plotly.js from the installed Python package: we need no copy and no content delivery network."""
    kept = {"Cache-Control": "public, max-age=31536000, immutable"}
    return FileResponse(PLOTLY_FILE, media_type="text/javascript", headers=kept)


def first_page(request: Request) -> Response:
    """Redirects ``/data`` to the first page, which has no name; relative, as a proxy may move the root."""
    query = request.url.query
    return RedirectResponse(f"./?{query}" if query else "./")


def named_page(request: Request) -> Response:
    """Serves Streamlit's page, with the application's root: otherwise it would first look below a named address."""
    page = (Path(st.__file__).parent / "static/index.html").read_text(encoding="utf-8")
    content = page.replace("<head>", f"<head><script>{BASE}{CORRECTIONS}</script>", 1)
    return HTMLResponse(content, headers={"Cache-Control": "no-cache"})


BASE = "window.__streamlit = {BACKEND_BASE_URL: new URL('.', location.href).href};"
CORRECTIONS = """{
  const push = history.pushState.bind(history)
  history.pushState = (state, unused, url) => {
    const next = new URL(url, location), now = [...new URLSearchParams(location.search)]
    const kept = now.every(([name, value]) => next.searchParams.get(name) === value)
    const same = next.pathname === location.pathname && kept
    same ? history.replaceState(state, unused, url) : push(state, unused, url)
  }
}"""
"""An address that only gains choices is no new entry of the history: Back would open the page that adds them again."""
PAGES = sorted({path.parent.name for path in (Path(__file__).parents[1] / "views").glob("*/page.py")} - {"data"})
ROUTES = [
    Route(f"/{PLOTLY_PATH}", plotly_script),
    Route("/data", first_page),
    *(Route(f"/{name}", named_page) for name in ("", *PAGES)),
]
"""Our own addresses."""

FRAMES = "frame-ancestors 'self'"
POLICY = (
    f"{FRAMES}; img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' data: blob:; frame-src 'self' "
    "data: blob:; object-src 'none'; base-uri 'self'"
)
"""Policy of the pages: a picture, font or frame from another machine is not loaded, even if a text became markup."""


class SameOrigin:
    """ASGI middleware that refuses websockets from other origins and adds security headers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forwards with headers; refuses a websocket of another page before Streamlit looks up this machine."""
        if scope["type"] == "websocket" and not _from_here(HTTPConnection(scope)):
            await send({"type": "websocket.close", "code": 1008})
            return

        async def with_headers(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                headers = MutableHeaders(scope=message)
                held = headers.get("content-security-policy")
                headers["content-security-policy"] = f"{held}; {FRAMES}" if held else POLICY
                headers.setdefault("x-frame-options", "SAMEORIGIN")
                headers.setdefault("x-content-type-options", "nosniff")
            await send(message)

        await self.app(scope, receive, with_headers)


def _from_here(connection: HTTPConnection) -> bool:
    """Returns True if the page that opens the websocket came from this address, or the client is not a browser."""
    origin = connection.headers.get("origin")
    return origin is None or origin.partition("://")[2] == connection.headers.get("host")


NEEDED_FIRST = ("dashboard.queries", "sklearn.tree")
"""The slowest imports of the first two pages."""


@asynccontextmanager
async def serving(app: object) -> AsyncIterator[None]:
    """Imports ``NEEDED_FIRST`` in a thread while the browser starts."""

    def load() -> None:
        with suppress(RuntimeError):  # the program ends meanwhile
            for name in NEEDED_FIRST:
                importlib.import_module(name)

    threading.Thread(target=load, name="loading", daemon=True).start()
    yield


def application(access: Access) -> st.App:
    """Returns the pages behind their middleware."""
    middleware = [
        Middleware(TrustedHostMiddleware, allowed_hosts=[bracketed(name) for name in access.names], www_redirect=False),
        Middleware(SameOrigin),
    ]
    if access.token is not None:
        middleware.append(Middleware(TokenGuard, token=access.token))
    pages = Path(__file__).parents[1] / "app.py"
    return st.App(pages, lifespan=serving, routes=ROUTES, middleware=middleware, on_script_error=show_error)
