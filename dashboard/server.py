"""The web application around the pages: who may ask, and the one script file that the charts need.

Streamlit checks the Host of websockets only; the middleware here refuses a foreign Host for plain requests too, so that a
web page elsewhere cannot reach this server by pointing its own name at 127.0.0.1.
"""

from pathlib import Path

import plotly
import streamlit as st
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Route

HOSTS = ("localhost", "127.0.0.1", "::1")
PLOTLY_PATH = f"/lab/plotly-{plotly.__version__}.min.js"
PLOTLY_FILE = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"


async def plotly_script(request: Request) -> FileResponse:
    """plotly.js out of the installed Python package: no copy of ours, no content delivery network."""
    return FileResponse(PLOTLY_FILE, media_type="text/javascript", headers={"Cache-Control": "public, max-age=31536000, immutable"})


app = st.App(
    Path(__file__).parent / "app.py",
    routes=[Route(PLOTLY_PATH, plotly_script)],
    middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[*HOSTS, "[::1]"], www_redirect=False)],
)
