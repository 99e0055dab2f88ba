"""Fetches a file from an address, or from a data set on the Hub: ``hf://datasets/owner/name@revision/file``."""

import ipaddress
import re
import socket
import ssl
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit

from tabtune_core.data.reading.progress import Tell
from tabtune_core.errors import TableError

PATIENCE_SECONDS = 30.0
CHUNK_BYTES = 1 << 18
WAY_OUT = "Check the address and the network, or download the file yourself and give that."


@dataclass(frozen=True, slots=True)
class Fetched:
    """A table that was fetched as a file."""

    path: Path
    name: str
    """Name shown to people; never part of a path."""
    target: str = ""
    """The column to predict, where the source names one."""


class PrivateAddress(TableError):
    """The address is in a private network, which this server can reach but the person may not be able to."""


def fetch(asked: str, folder: Path, *, limit_bytes: int, tell: Tell, guarded: bool) -> Fetched:
    """Downloads the file."""
    download(asked, folder / "download", limit_bytes=limit_bytes, tell=tell, guarded=guarded)
    address = urlsplit(asked)
    return Fetched(folder / "download", unquote(address.path.rpartition("/")[2]) or str(address.hostname))


def download(
    address: str, target: Path, *, limit_bytes: int, tell: Tell, guarded: bool, token: str | None = None
) -> None:
    """Writes the content at an address to ``target``; the ``token`` is not sent along with a redirect.

    Raises TableError where it cannot be reached, refuses, sends too much, or is private although ``guarded``.
    """
    try:
        shown = f"{urlsplit(address).scheme}://{urlsplit(address).hostname}"
    except ValueError as error:
        raise TableError(f"{address!r} is not an address ({error}). {WAY_OUT}") from error
    try:
        asked = request.Request(address, headers={"User-Agent": "lora-lab"})
        if token:
            asked.add_unredirected_header("Authorization", f"Bearer {token}")
        with closing(_opener(guarded).open(asked, timeout=PATIENCE_SECONDS)) as answer:
            size, whole = 0, int(answer.headers.get("Content-Length") or 0)
            _check_size(whole, limit_bytes)
            with target.open("wb") as out:
                while chunk := answer.read(CHUNK_BYTES):
                    size += len(chunk)
                    _check_size(size, limit_bytes)
                    out.write(chunk)
                    tell("Downloading megabytes", size // 1_000_000, whole // 1_000_000)
            if size < whole:
                raise TableError(f"The download from {shown} stopped after {size:,} of {whole:,} bytes. Try again.")
    except HTTPError as error:
        raise TableError(f"{shown} answered {error.code} ({error.reason}). {WAY_OUT}") from error
    except URLError as error:
        if isinstance(error.reason, PrivateAddress):
            raise error.reason from None
        reason = getattr(error.reason, "strerror", None) or error.reason
        raise TableError(f"{shown} could not be reached ({reason}). {WAY_OUT}") from error
    except (TimeoutError, ConnectionError, HTTPException, ValueError, ssl.SSLError) as error:
        if isinstance(error, TableError):
            raise
        raise TableError(f"{shown} could not be reached ({error or type(error).__name__}). {WAY_OUT}") from error


def _check_size(size: int, limit_bytes: int) -> None:
    if size > limit_bytes:
        raise TableError(f"The file at this address has more than {limit_bytes:,} bytes, which is the limit.")


def _opener(guarded: bool) -> request.OpenerDirector:
    """Returns an opener for http and https; ``guarded`` means no proxy, which would resolve names elsewhere."""
    opener = request.OpenerDirector()
    opener.addheaders = []
    handlers = (request.HTTPDefaultErrorHandler(), request.HTTPRedirectHandler(), request.HTTPErrorProcessor())
    for handler in (request.ProxyHandler({} if guarded else None), _Http(guarded), *handlers, request.UnknownHandler()):
        opener.add_handler(handler)
    return opener


class _Http(request.HTTPHandler, request.HTTPSHandler):
    """Opens requests; each redirect comes through here again."""

    def __init__(self, guarded: bool) -> None:
        super().__init__()
        self._guarded = guarded

    def http_open(self, req: request.Request) -> Any:
        """Opens a request without TLS."""
        return self.do_open(partial(self._connection, HTTPConnection), req)

    def https_open(self, req: request.Request) -> Any:
        """Opens a request with TLS."""
        return self.do_open(partial(self._connection, HTTPSConnection), req)

    def _connection(self, kind: type[HTTPConnection], *given: Any, **more: Any) -> HTTPConnection:
        connection = kind(*given, **more)
        if self._guarded:
            setattr(connection, "_create_connection", public_socket)  # noqa: B010 (a private name of http.client)
        return connection


def public_socket(place: tuple[str, int], timeout: float | None, *_: Any) -> socket.socket:
    """Connects to another host whose addresses are all public; raises PrivateAddress before anything is sent otherwise.

    The name is resolved once, so that it cannot lead elsewhere after the check.
    """
    host, port = place
    addresses = [str(item[4][0]) for item in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    private = f"{host} is an address of a private network or of this machine; nothing is fetched there. Upload it."
    if not all(_is_public(ipaddress.ip_address(address.partition("%")[0])) for address in addresses):
        raise PrivateAddress(private)
    connected = socket.create_connection((addresses[0], port), timeout)
    if _is_this_machine(connected):
        connected.close()
        raise PrivateAddress(private)
    return connected


def _is_this_machine(connected: socket.socket) -> bool:
    """Whether both ends of a connection have one address, which may be a public one."""
    return bool(connected.getsockname()[0] == connected.getpeername()[0])


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    within = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None) or address
    if within.version == 6 and within in NAT64:
        within = ipaddress.IPv4Address(int(within) & 0xFFFFFFFF)
    return bool(within.is_global and not within.is_multicast)


NAT64 = ipaddress.ip_network("64:ff9b::/96")
"""Addresses that a gateway translates to the IPv4 address in their last 32 bits: RFC 6052."""
DATASET = re.compile(r"hf://datasets/(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/]+))?/(?P<file>.+)")


def fetch_from_hub(asked: str, folder: Path, *, limit_bytes: int, tell: Tell, guarded: bool) -> Fetched:
    """Downloads the file; refuses in offline mode (HF_HUB_OFFLINE)."""
    from huggingface_hub import constants, get_token, hf_hub_url

    match = DATASET.fullmatch(asked)
    try:
        if match is None:
            raise ValueError
        repo, revision, file = match["repo"], match["revision"] or "main", match["file"]
        address = hf_hub_url(repo, file, repo_type="dataset", revision=revision)
    except ValueError as error:  # also the Hub's own, about the name of a repository
        way_out = "Write hf://datasets/OWNER/NAME/FILE, for example a .parquet file."
        raise TableError(f"{asked!r} does not name a file of a data set. {way_out}") from error
    if constants.HF_HUB_OFFLINE:
        raise TableError(f"HF_HUB_OFFLINE is set. Download {file} of {repo} elsewhere and give its path.")
    # the token belongs to the person who runs the server, not to whoever uses the page
    token = None if guarded else get_token()
    download(address, folder / "download", limit_bytes=limit_bytes, tell=tell, guarded=guarded, token=token)
    return Fetched(folder / "download", file.rpartition("/")[2])
