"""Who may reach the server: its address, the host names it answers to, and the token or log-in it asks for.

In: the command line and the environment. Out: an ``Access`` from which the application is built.
"""

import ipaddress
import os
import re
import secrets
import socket
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

import psutil

LOOPBACK = "127.0.0.1"
OWN_NAMES = ("localhost", LOOPBACK, "::1")
TOKEN_VARIABLE = "TABTUNE_TOKEN"
LOGIN_VARIABLE = "TABTUNE_LOGIN"
"""Set for the page scripts of a server that asks for a log-in."""
SERVER_PATHS_VARIABLE = "TABTUNE_SERVER_PATHS"
"""Set for the page scripts of a server with log-in where people may type paths of the server's files, such as weights.
"""
BASE_VARIABLE = "TABTUNE_BASE"
"""Tells the page scripts the path below which browsers reach the server."""
FETCH_VARIABLE = "TABTUNE_FETCH"
"""Set for the page scripts of a server that may fetch tables from addresses that people type."""
FEWEST_LETTERS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How a server lets people in."""

    address: str = LOOPBACK
    """IP address that the server listens on; ``0.0.0.0`` and ``::`` stand for all addresses of this machine."""
    names: tuple[str, ...] = OWN_NAMES
    """Accepted hosts of a request.

    Any other host could be a foreign web page whose name was pointed at this server (DNS rebinding).
    """
    token: str | None = field(default=None, repr=False)
    """None if no token is needed: only this machine can reach the server, or people log in."""
    login: bool = False
    emails: tuple[str, ...] = ()
    """Who may come in after a log-in; empty: everybody whom the provider knows."""

    base: str = ""
    """Path below which a proxy serves the app, such as ``/lab``; empty if the app has a host name of its own."""

    origin: str = ""
    """Where people log in: the provider redirects to this address, and the log-in is valid only there."""

    def addresses(self, port: int) -> list[str]:
        """Returns the addresses to open in a browser; the one for other machines comes first."""
        if self.login and self.origin:
            return [self.origin]
        hosts = [_reachable(self.address), LOOPBACK] if is_any(self.address) else [self.address]
        query = (
            f"{self.base}/?token={quote(self.token, safe='')}" if self.token else f"{self.base}/" if self.base else ""
        )
        return [f"http://{bracketed(host)}:{port}{query}" for host in dict.fromkeys(hosts)]


def decide(
    address: str,
    more_names: Sequence[str] = (),
    *,
    login: Mapping[str, object] | None = None,
    environment: MutableMapping[str, str] = os.environ,
) -> Access:
    """Decides the access of a server that listens on ``address``, a host name or an IP address.

    A token is required if other machines can reach the server, directly or through a proxy under one of ``more_names``,
    or if the environment holds one. It is removed from the environment, because processes started later do not need it.
    ``login`` holds the sections of Streamlit's secrets if people log in.

    Raises:
        ValueError: the address is not this machine's, a name is not a host name, or the token is easily guessed.
    """
    if odd := [name for name in more_names if not re.fullmatch(r"[\w.:*-]+", name)]:
        raise ValueError(
            f"{odd[0]!r} is not a host name. Write it without http:// and without a port, for example lab.example.org."
        )
    found = resolved(address)
    given = environment.pop(TOKEN_VARIABLE, None)
    if given is not None and len(given) < FEWEST_LETTERS:
        raise ValueError(
            f"The token has {len(given)} characters and could be guessed. Give it at least {FEWEST_LETTERS}, or "
            "leave it out:"
            " the server then makes one."
        )
    names = dict.fromkeys((*OWN_NAMES, *_names_of(address, found), *more_names))
    if login is not None:
        auth = _section(login, "auth")
        back = urlsplit(str(auth.get("redirect_uri", "")))
        names |= dict.fromkeys(filter(None, [back.hostname]))
        return Access(
            address=found,
            names=tuple(names),
            login=True,
            origin=f"{back.scheme}://{back.netloc}" if back.netloc else "",
            emails=Rules.of(login).emails,
        )
    wide = bool(more_names) or not ipaddress.ip_address(found).is_loopback
    return Access(address=found, names=tuple(names), token=given or (secrets.token_urlsafe(24) if wide else None))


@dataclass(frozen=True, slots=True)
class Rules:
    """What people who log in may do: the entries of the section [tabtune] in Streamlit's secrets."""

    emails: tuple[str, ...] = ()
    """Who may come in, by e-mail address in lower case; empty: everybody whom the provider knows."""
    admins: tuple[str, ...] = ()
    """Who may change what others own, written likewise."""
    unowned_open: bool = False
    """Whether everybody who is let in may change what has no owner; otherwise only admins may."""
    server_paths: bool = False
    """Whether people may name files of the server, such as weights."""

    @classmethod
    def of(cls, secrets: Mapping[str, object]) -> "Rules":
        """Reads the rules.

        Raises:
            ValueError: an entry is not a list of strings, or not true or false.
        """
        told = _section(secrets, "tabtune")
        return cls(
            _listed(told, "emails"),
            _listed(told, "admins"),
            _switch(told, "unowned_open"),
            _switch(told, "server_paths"),
        )


def may_type_paths(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a person may name a file of the server on this page; always true on a server without log-in."""
    return not environment.get(LOGIN_VARIABLE) or bool(environment.get(SERVER_PATHS_VARIABLE))


def checked_base(text: str) -> str:
    """Normalises the path below which the server is reached: one leading slash, no trailing slash.

    >>> [checked_base(text) for text in ("lab", "/lab/", "user/ann/lab/", "/", "")]
    ['/lab', '/lab', '/user/ann/lab', '', '']

    Raises:
        ValueError: ``text`` is not a path alone.
    """
    parts = text.strip("/").split("/")
    if parts == [""]:
        return ""
    if not all(re.fullmatch(r"[\w.~@%+-]+", part) and part.strip(".") for part in parts):
        raise ValueError(
            f"--base-url is {text!r}; write the path alone, for example /lab/, without http:// and the name of the "
            "proxy."
        )
    return "/" + "/".join(parts)


def below_base(path: str) -> str:
    """Puts the base path before a path of the server, as a browser has to request it."""
    return os.environ.get(BASE_VARIABLE, "") + path


def may_fetch() -> bool:
    """Whether a person may have the server fetch a table or an adapter from an address."""
    return bool(os.environ.get(FETCH_VARIABLE))


NO_PATHS = (
    "Files of the server cannot be named here. The person who runs it can allow it: server_paths = true in "
    "secrets.toml."
)


def _listed(told: Mapping[str, object], name: str) -> tuple[str, ...]:
    found = told.get(name, [])
    if isinstance(found, str) or not isinstance(found, Sequence) or not all(isinstance(email, str) for email in found):
        raise ValueError(
            f"{name} under [tabtune] in secrets.toml is {found!r}; write a list, for example {name} = "
            '["ann@example.org"].'
        )
    return tuple(email.casefold() for email in found)


def _switch(told: Mapping[str, object], name: str) -> bool:
    found = told.get(name, False)
    if not isinstance(found, bool):
        raise ValueError(f"{name} under [tabtune] in secrets.toml is {found!r}; write true or false.")
    return found


def _section(values: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = values.get(name)
    return found if isinstance(found, Mapping) else {}


def resolved(address: str) -> str:
    """Returns the IP address of a host name; an IP address is returned as it is.

    Raises:
        ValueError: the name cannot be resolved.
    """
    try:
        return str(socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)[0][4][0])
    except (OSError, ValueError) as error:
        ways = (
            "Take an IP address of this machine, or 0.0.0.0 for all of them. The head of a Ray cluster is named "
            "with --ray-address."
        )
        raise ValueError(f"There is no address {address!r}. {ways}") from error


def is_any(address: str) -> bool:
    """Whether an IP address stands for all addresses of the machine."""
    return ipaddress.ip_address(address).is_unspecified


def bracketed(host: str) -> str:
    """Writes a host as in an address bar or a Host header: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def _names_of(asked: str, address: str) -> list[str]:
    """Returns the host names of this server: ``asked`` and its IP address, or all of the machine's if it listens on all
    addresses.
    """
    if not is_any(address):
        return [asked.lower(), address]
    found = [
        item.address
        for items in psutil.net_if_addrs().values()
        for item in items
        if item.family in (socket.AF_INET, socket.AF_INET6)
    ]
    return [socket.gethostname().lower(), socket.getfqdn().lower(), *(ip for ip in found if "%" not in ip)]


def _reachable(address: str) -> str:
    """Returns the address under which other machines most likely reach this one: that of the route out.

    Sends nothing.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(
                ("2001:db8::1" if family == socket.AF_INET6 else "192.0.2.1", 9)
            )  # addresses for documentation
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
