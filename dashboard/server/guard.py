"""Asks for a token, or for a log-in, before anything else of the application answers.

In: every request and websocket. Out: the same, handed on, or a refusal. The token is the one that is part of the printed address; whoever
brings it gets a cookie, so that it leaves the address bar at once. Whoever guesses is slowed down: each wrong answer of an address takes
longer than the one before, and few wait at once.
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
"""Wrong answers after which an address is taken for one that guesses."""
MOST_WAITING, MOST_WAITING_IN_ALL = 4, 64
MOST_KNOWN = 10_000
"""Addresses that are remembered, the latest."""


class Slowdown:
    """One a server.

    A right answer of an address that was wrong a few times is never kept waiting, and who has the cookie never comes here. One that goes on
    guessing is told nothing while its guesses wait, right or wrong: else it could guess as quickly as it is refused.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._clock, self._sleep = clock, sleep
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """How often each address was wrong, and when last."""
        self._waiting: Counter[str] = Counter()

    async def admits(self, address: str, *, right: bool) -> bool:
        """Whether an answer may be looked at; a wrong one is noted and waits first, longer each time, while other requests go on.

        False: the address must come again later, as too many of its guesses wait, or too many of all and it has been wrong before.
        """
        name = _network(address)
        times = self._times(name)
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

    def _times(self, name: str) -> int:
        times, last = self._wrong.get(name, (0, 0.0))
        return times if self._clock() - last < FORGOTTEN_SECONDS else 0


def _network(address: str) -> str:
    """An IPv4 address, or the /64 that one machine has of IPv6."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(found) if found.version == 4 else str(ipaddress.ip_network((found, 64), strict=False))


HEALTH_PATH = "/_stcore/health"
"""Says ``ok`` to whoever watches over the process, and nothing else."""
BEHIND_LOGIN = ("/lab/", "/media/", "/_stcore/upload_file/", "/_stcore/metrics")
"""What answers without a page script; the scripts themselves ask for the log-in in ``dashboard.server.people``."""
_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>LoRA Lab</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">{head}
<style>body {{ font: 16px sans-serif; max-width: 30rem; margin: 15vh auto; padding: 0 1rem }} input, button {{ font: inherit;
padding: .4rem .6rem; box-sizing: border-box }} input {{ width: 100%; margin: .4rem 0 .8rem }}</style></head><body>{body}</body></html>"""
_ASK = """<h1>LoRA Lab</h1><p>{why} It is the part after <code>token=</code> in the address that the server printed when it started.</p>
<form method="get"><label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="off" autofocus required>{held}<button>Open</button></form>"""
_HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"}


class TokenGuard:
    """ASGI middleware that lets in who has the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self.token = app, token
        self.pass_ = hashlib.scrypt(token.encode(), salt=b"LoRA Lab", n=2**14, r=8, p=1, dklen=32).hex()
        """What the cookie holds: cookies go to every port of a host, so never the token itself; slow to make, as guessed ones are."""
        self.slowdown = Slowdown()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands on what may pass; a websocket that may not is refused before it opens."""
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
            response = PlainTextResponse("Too many wrong tokens. Try again in a few seconds.", 429, {**_HEADERS, "Retry-After": "8"})
        await response(scope, receive, send)

    def known(self, connection: HTTPConnection) -> bool:
        """Whether the token was given before."""
        return same(connection.cookies.get(cookie_name(connection), ""), self.pass_)

    def answer(self, connection: HTTPConnection) -> Response:
        """For who is not known: the way in where the token is right, a page that asks for it, or a plain refusal."""
        if connection.scope["method"] != "GET":
            return PlainTextResponse("Open the address with its token first.", 403, _HEADERS)
        given = connection.query_params.get("token")
        if given is not None and same(given, self.token):
            response = onward(connection)
            response.set_cookie(
                cookie_name(connection), self.pass_, httponly=True, samesite="strict", secure=connection.url.scheme == "https"
            )
            return response
        if given is None and connection.headers.get("sec-fetch-site") == "cross-site":
            return onward(connection)  # a link from elsewhere comes without the cookie of who has one; asked from here it is sent
        why = "This server asks for a token." if given is None else "That is not the token."
        held = "".join(f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in others(connection))
        return HTMLResponse(_PAGE.format(head="", body=_ASK.format(why=why, held=held)), 401 if given is None else 403, _HEADERS)


class LoginGuard:
    """ASGI middleware that lets only people who have logged in reach whatever the page scripts do not guard."""

    def __init__(self, app: ASGIApp, emails: tuple[str, ...]) -> None:
        self.app, self.emails = app, emails

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands on what may pass."""
        if scope["type"] != "http" or not scope["path"].startswith(BEHIND_LOGIN) or admitted(user_of(HTTPConnection(scope)), self.emails):
            await self.app(scope, receive, send)
        else:
            await PlainTextResponse("Log in first, at the address of this server.", 403, _HEADERS)(scope, receive, send)


def admitted(user: Mapping[str, Any], emails: tuple[str, ...]) -> bool:
    """Whether a person who has logged in may come in: everybody, unless addresses are listed."""
    if not user.get("is_logged_in"):
        return False
    return not emails or email_of(user) in {email.casefold() for email in emails}


def email_of(user: Mapping[str, Any]) -> str:
    """In small letters; empty without one, or if the provider has not verified it."""
    unseen = str(user.get("email_verified", True)).casefold() == "false"
    return "" if unseen else str(user.get("email") or "").casefold()


def user_of(connection: HTTPConnection) -> dict[str, Any]:
    """What the signed cookie says that Streamlit sets after a log-in; nothing without a cookie."""

    def opened(name: str) -> bytes | None:
        value = connection.cookies.get(name)
        return decode_signed_value(get_cookie_secret(), name, value.encode("latin-1", "replace")) if value else None

    found = get_cookie_with_chunks(opened, USER_COOKIE_NAME)
    return dict(json.loads(found)) if found else {}


def same(given: str, held: str) -> bool:
    """Equality that takes as long for a near miss as for any other."""
    return hmac.compare_digest(given.encode(), held.encode())


def cookie_name(connection: HTTPConnection) -> str:
    """One a port: two servers on a host do not take each other's."""
    return f"lora_lab_{connection.url.port or 0}"


def others(connection: HTTPConnection) -> list[tuple[str, str]]:
    """The query without the token."""
    return [(name, value) for name, value in connection.query_params.multi_items() if name != "token"]


def onward(connection: HTTPConnection) -> HTMLResponse:
    """To the same page, without the token; not as a redirect, whose request would still count as the other site's and lack the cookie."""
    query = urlencode(others(connection))
    target = "./" + quote(connection.scope["path"].rpartition("/")[2]) + (f"?{query}" if query else "")
    link = f'<meta http-equiv="refresh" content="0; url={escape(target)}">'
    return HTMLResponse(_PAGE.format(head=link, body=f'<p><a href="{escape(target)}">Open LoRA Lab</a></p>'), headers=_HEADERS)
