"""Fetches a file from an address, or from a data set on the Hub: ``hf://datasets/owner/name/file.parquet``, or
``name@revision``.
"""

import ipaddress
import re
import socket
import ssl
from collections.abc import Mapping
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit

from tabtune_core.data.reading.progress import Tell
from tabtune_core.data.sources.base import Fetched
from tabtune_core.errors import TableError

PATIENCE_SECONDS = 30.0
CHUNK_BYTES = 1 << 18
WAY_OUT = "Check the address and the network, or download the file yourself and give that."


class PrivateAddress(TableError):
    """The address is in a private network, which this server can reach but the person may not be able to."""


def fetch(asked: str, folder: Path, *, limit_bytes: int, tell: Tell, guarded: bool) -> Fetched:
    """Downloads the file."""
    download(asked, folder / "download", limit_bytes=limit_bytes, tell=tell, guarded=guarded)
    return Fetched(
        folder / "download", unquote(urlsplit(asked).path.rpartition("/")[2]) or str(urlsplit(asked).hostname)
    )


def download(
    address: str, target: Path, *, limit_bytes: int, tell: Tell, guarded: bool, headers: Mapping[str, str] | None = None
) -> None:
    """Writes the content at an address to ``target``.

    Raises TableError where the address cannot be reached, refuses, sends more than ``limit_bytes``, or is ``guarded``
    and private.
    """
    try:
        shown = f"{urlsplit(address).scheme}://{urlsplit(address).hostname}"
    except ValueError as error:
        raise TableError(f"{address!r} is not an address ({error}). {WAY_OUT}") from error
    try:
        asked = request.Request(address, headers={"User-Agent": "lora-lab", **(headers or {})})
        with closing(_opener(guarded).open(asked, timeout=PATIENCE_SECONDS)) as answer:
            whole = int(answer.headers.get("Content-Length") or 0)
            size = 0
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
    """Returns an opener for http and https alone.

    If ``guarded``, it uses no proxy, which would resolve host names elsewhere.
    """
    opener = request.OpenerDirector()
    opener.addheaders = []
    for handler in (
        request.ProxyHandler({} if guarded else None),
        _Http(guarded),
        request.HTTPDefaultErrorHandler(),
        _Redirects(),
        request.HTTPErrorProcessor(),
        request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


class _Redirects(request.HTTPRedirectHandler):
    """Removes the token when a redirect leads to another host or off https."""

    def redirect_request(
        self, req: request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> request.Request | None:
        """Returns the next request."""
        after = super().redirect_request(req, fp, code, msg, headers, newurl)
        if after is not None and (
            urlsplit(newurl).netloc != urlsplit(req.full_url).netloc or not newurl.startswith("https://")
        ):
            after.remove_header("Authorization")
        return after


class _Http(request.HTTPHandler, request.HTTPSHandler):
    """Opens requests; each redirect comes through here again."""

    def __init__(self, guarded: bool) -> None:
        super().__init__()
        self._http, self._https = (GuardedHttp, GuardedHttps) if guarded else (HTTPConnection, HTTPSConnection)

    def http_open(self, req: request.Request) -> Any:
        """Opens a request without TLS."""
        return self.do_open(self._http, req)

    def https_open(self, req: request.Request) -> Any:
        """Opens a request with TLS."""
        return self.do_open(self._https, req)


class GuardedHttp(HTTPConnection):
    """Connects to public addresses only."""

    def connect(self) -> None:
        """Resolves the name once, and connects to the address that was checked."""
        self.sock = public_socket(self.host, self.port, self.timeout)


class GuardedHttps(HTTPSConnection):
    """Connects to public addresses only, with TLS."""

    def connect(self) -> None:
        """Resolves the name once, and connects to the address that was checked; the certificate must be valid for the
        name.
        """
        plain = public_socket(self.host, self.port, self.timeout)
        self.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=self.host)


def public_socket(host: str, port: int, timeout: float | None) -> socket.socket:
    """Connects to a host whose addresses are all public. Raises PrivateAddress otherwise, before anything is sent."""
    found = [str(item[4][0]) for item in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    if not all(_is_public(ipaddress.ip_address(address.partition("%")[0])) for address in found):
        raise PrivateAddress(
            f"{host} is an address of a private network, which this server does not fetch from. Upload the file "
            "instead."
        )
    return socket.create_connection((found[0], port), timeout)


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    within = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None) or address
    return bool(within.is_global and not within.is_multicast)


DATASET = re.compile(r"hf://datasets/(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/]+))?/(?P<file>.+)")


def fetch_from_hub(asked: str, folder: Path, *, limit_bytes: int, tell: Tell, guarded: bool) -> Fetched:
    """Downloads the file; in offline mode (HF_HUB_OFFLINE), takes it from the Hub's cache."""
    from huggingface_hub import constants, get_token, hf_hub_url, try_to_load_from_cache

    found = DATASET.fullmatch(asked)
    if found is None:
        raise TableError(
            f"{asked!r} does not name a file of a data set. Write hf://datasets/OWNER/NAME/FILE, for example a "
            ".parquet file."
        )
    repo, revision, file = found["repo"], found["revision"] or "main", found["file"]
    name = file.rpartition("/")[2]
    if constants.HF_HUB_OFFLINE:
        cached = None if guarded else try_to_load_from_cache(repo, file, repo_type="dataset", revision=revision)
        if isinstance(cached, str):
            return Fetched(Path(cached), name)
        raise TableError(
            f"HF_HUB_OFFLINE is set, and {file} of {repo} is not in the cache. Download it elsewhere and give its path."
        )
    # the token belongs to the person who runs the server, not to whoever uses the page
    token = None if guarded else get_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    address = hf_hub_url(repo, file, repo_type="dataset", revision=revision)
    download(address, folder / "download", limit_bytes=limit_bytes, tell=tell, guarded=guarded, headers=headers)
    return Fetched(folder / "download", name)
