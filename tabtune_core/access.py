"""Who may reach the server: its address, the host names it answers to, and the token it asks for.

In: the command line and the environment. Out: an ``Access`` from which the application is built.
"""

import ipaddress
import os
import re
import secrets
import socket
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

import psutil

from tabtune_core.errors import SettingError

LOOPBACK = "127.0.0.1"
OWN_NAMES = ("localhost", LOOPBACK, "::1")
TOKEN_VARIABLE = "TABTUNE_TOKEN"
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
    """None if only this machine can reach the server."""

    def addresses(self, port: int) -> list[str]:
        """Returns the addresses to open in a browser; the one for other machines comes first."""
        hosts = [_reachable(self.address), LOOPBACK] if is_any(self.address) else [self.address]
        query = f"/?token={quote(self.token, safe='')}" if self.token else ""
        return [f"http://{bracketed(host)}:{port}{query}" for host in dict.fromkeys(hosts)]


def decide(
    address: str, more_names: Sequence[str] = (), *, environment: MutableMapping[str, str] = os.environ
) -> Access:
    """Decides the access of a server that listens on ``address``, a host name or an IP address.

    A token is required if other machines can reach the server, directly or through a proxy under one of ``more_names``,
    or if the environment holds one. It is removed from the environment, because processes started later do not need it.

    Raises:
        SettingError: the address is not this machine's, a name is not a host name, or the token is easily guessed.
    """
    if odd := [name for name in more_names if not re.fullmatch(r"[\w.:*-]+", name)]:
        write = "Write it without http:// and without a port, for example lab.example.org."
        raise SettingError(f"{odd[0]!r} is not a host name. {write}")
    ip = resolved(address)
    given = environment.pop(TOKEN_VARIABLE, None)
    if given is not None and len(given) < FEWEST_LETTERS:
        longer = f"Give it at least {FEWEST_LETTERS}, or leave it out: the server then makes one."
        raise SettingError(f"The token has {len(given)} characters and could be guessed. {longer}")
    names = dict.fromkeys((*OWN_NAMES, *_names_of(address, ip), *more_names))
    wide = bool(more_names) or not ipaddress.ip_address(ip).is_loopback
    return Access(address=ip, names=tuple(names), token=given or (secrets.token_urlsafe(24) if wide else None))


def may_fetch() -> bool:
    """Whether a person may have the server fetch a table or an adapter from an address."""
    return bool(os.environ.get(FETCH_VARIABLE))


def resolved(address: str) -> str:
    """Returns the IP address of a host name or IP address; raises SettingError if the name cannot be resolved."""
    try:
        return str(socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)[0][4][0])
    except (OSError, ValueError) as error:
        ways = "Take an IP address of this machine, or 0.0.0.0 for all."
        raise SettingError(f"There is no address {address!r}. {ways}") from error


def is_any(address: str) -> bool:
    """Whether an IP address stands for all addresses of the machine."""
    return ipaddress.ip_address(address).is_unspecified


def bracketed(host: str) -> str:
    """Writes a host as in an address bar or a Host header: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def _names_of(asked: str, address: str) -> list[str]:
    """Returns the host names of this server: ``asked`` and its IP address, or all of the machine's."""
    if not is_any(address):
        return [asked.lower(), address]
    every = [item for items in psutil.net_if_addrs().values() for item in items]
    own = [item.address for item in every if item.family in (socket.AF_INET, socket.AF_INET6)]
    return [socket.gethostname().lower(), socket.getfqdn().lower(), *(ip for ip in own if "%" not in ip)]


def _reachable(address: str) -> str:
    """Returns the address under which other machines most likely reach this one: that of the route out."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:  # addresses for documentation
            probe.connect(("2001:db8::1" if family == socket.AF_INET6 else "192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
