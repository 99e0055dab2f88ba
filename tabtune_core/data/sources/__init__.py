"""Fetches a table from an address, before reading. Each kind of source is a function and a line in SOURCES."""

import re
from collections.abc import Callable
from pathlib import Path

from tabtune_core.data.reading.progress import Tell, untold
from tabtune_core.data.sources import openml, web
from tabtune_core.data.sources.web import Fetched
from tabtune_core.errors import TableError

SOURCES: dict[str, Callable[..., Fetched]] = {
    "https://": web.fetch,
    "http://": web.fetch,
    "hf://": web.fetch_from_hub,
    "openml:": openml.fetch,
}
"""Function of each source, by its prefix; it is called as in ``fetch``."""
SECRET = re.compile(r"([?&][^=&#]*(?:token|key|sig|secret|pass|auth|cred|session)[^=&#]*=)[^&#]+", re.IGNORECASE)


def is_address(text: str) -> bool:
    """Whether a text names a source and not a file of this machine."""
    return text.startswith(tuple(SOURCES))


def fetch(address: str, folder: Path, *, limit_bytes: int, tell: Tell = untold, guarded: bool = False) -> Fetched:
    """Fetches a table into ``folder``; ``guarded``, for requests from elsewhere, allows only public addresses.

    Raises TableError where the table cannot be fetched.
    """
    source = next((SOURCES[prefix] for prefix in SOURCES if address.startswith(prefix)), None)
    if source is None:
        begins = "It begins with https://, hf://datasets/ or openml: and a number."
        raise TableError(f"{address!r} is not an address. {begins}")
    return source(address, folder, limit_bytes=limit_bytes, tell=tell, guarded=guarded)


def recorded(address: str) -> str:
    """Returns an address without its secrets.

    >>> recorded("https://a.example/b.csv?id=3&access_token=abc")
    'https://a.example/b.csv?id=3&access_token=...'
    """
    return SECRET.sub(r"\1...", address)
