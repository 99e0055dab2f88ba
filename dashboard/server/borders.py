"""What holds for every answer and every websocket, whoever asks: no frame around the pages, nothing from elsewhere in them.

In: every request and websocket. Out: the same with headers, or a refusal.
"""

from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FRAMES = "frame-ancestors 'self'"
POLICY = (
    f"{FRAMES}; img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' data: blob:; frame-src 'self' data: blob:;"
    " object-src 'none'; base-uri 'self'"
)
"""Of the pages: a picture, font or frame from another machine is not loaded, even if a text became markup."""


class Borders:
    """ASGI middleware in front of all others but the check of the Host."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands on with headers. A websocket of another page is refused here: Streamlit would first look up this machine's address."""
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
    """Whether the page that opens it came from this very address, or no browser is asking."""
    origin = connection.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == connection.headers.get("host")
