"""Asks for a token before anything else of the application answers.

In: every request and websocket. Out: the same request, forwarded, or a refusal. A browser that sends the token, which
is part of the printed address, gets a cookie. A token has 16 letters or more, so that guessing it takes too long.
"""

import hashlib
import hmac
from html import escape
from http import HTTPStatus
from urllib.parse import quote, urlencode

from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

HEALTH_PATH = "/_stcore/health"
"""Answers only ``ok``, for process monitors."""
_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>LoRA Lab</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<style>body {{ font: 16px sans-serif; max-width: 30rem; margin: 15vh auto; padding: 0 1rem }}
input, button {{ font: inherit; padding: .4rem .6rem; box-sizing: border-box }}
input {{ width: 100%; margin: .4rem 0 .8rem }}</style></head><body>{body}</body></html>"""
_ASK = """<h1>LoRA Lab</h1><p>{why} It is the part after <code>token=</code> in the address that the server printed.</p>
<form method="get"><label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="off" autofocus required>{held}
<button>Open</button></form>"""
_HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"}


class TokenGuard:
    """ASGI middleware that lets in only clients with the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self.token = app, token
        self.pass_ = hashlib.scrypt(token.encode(), salt=b"LoRA Lab", n=2**14, r=8, p=1, dklen=32).hex()
        """Value of the cookie: not the token itself, because cookies go to every port of a host."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward what may pass; refuse another websocket before it opens."""
        if scope["type"] == "lifespan" or scope["path"] == HEALTH_PATH or self.known(HTTPConnection(scope)):
            await self.app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        await self.answer(HTTPConnection(scope))(scope, receive, send)

    def known(self, connection: HTTPConnection) -> bool:
        """Returns True if the browser has the cookie."""
        return same(connection.cookies.get(cookie_name(connection), ""), self.pass_)

    def answer(self, connection: HTTPConnection) -> Response:
        """Answers a browser without the cookie: lets it in with the right token, else asks for it or refuses."""
        if connection.scope["method"] != "GET":
            return PlainTextResponse("Open the address with its token first.", 403, _HEADERS)
        given = connection.query_params.get("token")
        if given is not None and same(given, self.token):
            query = urlencode(others(connection))
            path = "./" + quote(connection.scope["path"].rpartition("/")[2])
            response = RedirectResponse(f"{path}?{query}" if query else path, HTTPStatus.SEE_OTHER, _HEADERS)
            name, secure = cookie_name(connection), connection.url.scheme == "https"
            response.set_cookie(name, self.pass_, httponly=True, samesite="lax", secure=secure)
            return response
        why = "This server asks for a token." if given is None else "That is not the token."
        held = "".join(
            f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in others(connection)
        )
        return HTMLResponse(_PAGE.format(body=_ASK.format(why=why, held=held)), 401 if given is None else 403, _HEADERS)


def same(given: str, held: str) -> bool:
    """Compares in constant time."""
    return hmac.compare_digest(given.encode(), held.encode())


def cookie_name(connection: HTTPConnection) -> str:
    """Returns a name with the port, so that two servers on one host have different cookies."""
    return f"lora_lab_{connection.url.port or 0}"


def others(connection: HTTPConnection) -> list[tuple[str, str]]:
    """Returns the query without the token."""
    return [(name, value) for name, value in connection.query_params.multi_items() if name != "token"]
