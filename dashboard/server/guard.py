"""Asks for a token, or for a log-in, before anything else of the application answers.

In: every request and websocket. Out: the same request, forwarded, or a refusal. The token is part of the printed
address; a browser that sends it gets a cookie, so that the token disappears from the address bar at once. Guessing is
slowed down: each wrong token from an address is answered later than the one before, and few may wait at once.
"""

import asyncio
import hashlib
import hmac
import ipaddress
import json
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from html import escape
from typing import Any
from urllib.parse import quote, urlencode

from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from streamlit.auth_util import get_cookie_with_chunks
from streamlit.web.server.server_util import get_cookie_secret
from streamlit.web.server.starlette.starlette_app_utils import decode_signed_value
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME

FIRST_SECONDS, LONGEST_SECONDS = 0.5, 8.0
FORGOTTEN_SECONDS = 900.0
GUESSER = 12
"""Number of wrong tokens after which an address counts as guessing."""
MOST_WAITING, MOST_WAITING_IN_ALL = 4, 64
MOST_KNOWN = 10_000
"""The latest addresses are remembered, up to this number."""


class Slowdown:
    """Delays wrong tokens; one instance per server.

    The right token from an address with fewer than ``GUESSER`` wrong ones never waits, and a browser with the cookie is
    not checked here. An address that keeps guessing gets no answer, right or wrong, while its guesses wait: otherwise
    guessing would be as fast as refusals.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """Number of wrong tokens of each address, and the time of the last."""
        self._waiting: Counter[str] = Counter()

    async def admits(self, address: str, *, right: bool) -> bool:
        """Return True if the token may be checked now; a wrong one is recorded and waits first, longer each time. Other
        requests continue.

        False means that the address must try again later: too many of its guesses wait, or too many in all and it was
        wrong before.
        """
        name = _network(address)
        times, last = self._wrong.get(name, (0, 0.0))
        times = times if self._clock() - last < FORGOTTEN_SECONDS else 0
        if right and times < GUESSER:
            return True
        full = self._waiting[name] >= MOST_WAITING or (self._waiting.total() >= MOST_WAITING_IN_ALL and times > 0)
        if right:
            return not full
        self._wrong[name] = (times + 1, self._clock())
        self._wrong.move_to_end(name)
        while len(self._wrong) > MOST_KNOWN:
            self._wrong.popitem(last=False)
        if full:
            return False
        self._waiting[name] += 1
        try:
            await self._sleep(min(FIRST_SECONDS * 2 ** min(times, 10), LONGEST_SECONDS))
        finally:
            self._waiting[name] -= 1
            if not self._waiting[name]:
                del self._waiting[name]
        return True


def _network(address: str) -> str:
    """Returns an IPv4 address, or the /64 network of an IPv6 address, because one machine can use all of it."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(found) if found.version == 4 else str(ipaddress.ip_network((found, 64), strict=False))


HEALTH_PATH = "/_stcore/health"
"""Answers only ``ok``, for process monitors."""
BEHIND_LOGIN = ("/_lab/", "/media/", "/_stcore/upload_file/", "/_stcore/metrics")
"""Addresses that answer without a page script; the scripts check the log-in themselves."""
_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>LoRA Lab</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">{head}
<style>body {{ font: 16px sans-serif; max-width: 30rem; margin: 15vh auto; padding: 0 1rem }} input, button {{ font: inherit;
padding: .4rem .6rem; box-sizing: border-box }} input {{ width: 100%; margin: .4rem 0 .8rem }}</style></head><body>{body}</body></html>"""
_ASK = """<h1>LoRA Lab</h1><p>{why} It is the part after <code>token=</code> in the address that the server printed when it started.</p>
<form method="get"><label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="off" autofocus required>{held}<button>Open</button></form>"""
_HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"}


class TokenGuard:
    """ASGI middleware that lets in only clients with the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self.token = app, token
        self.pass_ = hashlib.scrypt(token.encode(), salt=b"LoRA Lab", n=2**14, r=8, p=1, dklen=32).hex()
        """Value of the cookie: not the token itself, because cookies go to every port of a host; a slow hash, to slow
        down guessing.
        """
        self.slowdown = Slowdown()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward what may pass; refuse another websocket before it opens."""
        if scope["type"] == "lifespan" or scope["path"] == HEALTH_PATH or self.known(HTTPConnection(scope)):
            await self.app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        connection = HTTPConnection(scope)
        given, address = connection.query_params.get("token"), connection.client.host if connection.client else ""
        if given is None or await self.slowdown.admits(address, right=same(given, self.token)):
            response = self.answer(connection)
        else:
            response = PlainTextResponse(
                "Too many wrong tokens. Try again in a few seconds.", 429, {**_HEADERS, "Retry-After": "8"}
            )
        await response(scope, receive, send)

    def known(self, connection: HTTPConnection) -> bool:
        """Returns True if the browser has the cookie."""
        return same(connection.cookies.get(cookie_name(connection), ""), self.pass_)

    def answer(self, connection: HTTPConnection) -> Response:
        """Answers a browser without the cookie: lets it in if the token is right, else asks for the token or refuses."""
        if connection.scope["method"] != "GET":
            return PlainTextResponse("Open the address with its token first.", 403, _HEADERS)
        given = connection.query_params.get("token")
        if given is not None and same(given, self.token):
            response = onward(connection)
            response.set_cookie(
                cookie_name(connection),
                self.pass_,
                httponly=True,
                samesite="strict",
                secure=connection.url.scheme == "https",
            )
            return response
        if given is None and connection.headers.get("sec-fetch-site") == "cross-site":
            return onward(
                connection
            )  # a link from another site comes without the cookie; a request from our own page sends it
        why = "This server asks for a token." if given is None else "That is not the token."
        held = "".join(
            f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in others(connection)
        )
        return HTMLResponse(
            _PAGE.format(head="", body=_ASK.format(why=why, held=held)), 401 if given is None else 403, _HEADERS
        )


class LoginGuard:
    """ASGI middleware that lets only people who have logged in reach the addresses that page scripts do not guard."""

    def __init__(self, app: ASGIApp, emails: tuple[str, ...]) -> None:
        self.app, self.emails = app, emails

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward what may pass."""
        if (
            scope["type"] != "http"
            or not scope["path"].startswith(BEHIND_LOGIN)
            or admitted(user_of(HTTPConnection(scope)), self.emails)
        ):
            await self.app(scope, receive, send)
        else:
            await PlainTextResponse("Log in first, at the address of this server.", 403, _HEADERS)(scope, receive, send)


def admitted(user: Mapping[str, Any], emails: tuple[str, ...]) -> bool:
    """Returns True if the person has logged in and, if addresses are listed (in lower case), is among them."""
    return bool(user.get("is_logged_in")) and (not emails or email_of(user) in emails)


def email_of(user: Mapping[str, Any]) -> str:
    """Returns the e-mail address in lower case; empty if there is none or the provider has not verified it."""
    unseen = str(user.get("email_verified", True)).casefold() == "false"
    return "" if unseen else str(user.get("email") or "").casefold()


def user_of(connection: HTTPConnection) -> dict[str, Any]:
    """Returns the content of the signed cookie that Streamlit sets after a log-in; empty without a cookie."""

    def opened(name: str) -> bytes | None:
        value = connection.cookies.get(name)
        return decode_signed_value(get_cookie_secret(), name, value.encode("latin-1", "replace")) if value else None

    found = get_cookie_with_chunks(opened, USER_COOKIE_NAME)
    return dict(json.loads(found)) if found else {}


def same(given: str, held: str) -> bool:
    """Compares in constant time."""
    return hmac.compare_digest(given.encode(), held.encode())


def cookie_name(connection: HTTPConnection) -> str:
    """Returns a name with the port, so that two servers on one host have different cookies."""
    return f"lora_lab_{connection.url.port or 0}"


def others(connection: HTTPConnection) -> list[tuple[str, str]]:
    """Returns the query without the token."""
    return [(name, value) for name, value in connection.query_params.multi_items() if name != "token"]


def onward(connection: HTTPConnection) -> HTMLResponse:
    """Sends the browser to the same page without the token; a redirect would count as a request of the other site and
    lack the cookie.
    """
    query = urlencode(others(connection))
    target = "./" + quote(connection.scope["path"].rpartition("/")[2]) + (f"?{query}" if query else "")
    link = f'<meta http-equiv="refresh" content="0; url={escape(target)}">'
    return HTMLResponse(
        _PAGE.format(head=link, body=f'<p><a href="{escape(target)}">Open LoRA Lab</a></p>'), headers=_HEADERS
    )
