"""Fetches a table that is not a single file on this machine. Each kind of source is a function and a line in SOURCES.

Before reading. In: what the person typed, such as an address. Out: a file to read, and its name.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from tabtune_core.data.reading.progress import Tell, untold
from tabtune_core.data.sources import local, openml, web
from tabtune_core.data.sources.base import Fetched
from tabtune_core.errors import TableError

SOURCES: dict[str, Callable[..., Fetched]] = {
    "https://": web.fetch,
    "http://": web.fetch,
    "hf://": web.fetch_from_hub,
    "openml:": openml.fetch,
    local.QUERY: local.query,
}
"""Function of each source, by its prefix; it is called as in ``fetch``."""
REMOTE = ("https://", "http://", "hf://", "openml:")
"""The sources that a page may ask for; a query can read any file of the machine."""
SECRET = re.compile(r"([?&][^=&#]*(?:token|key|sig|secret|pass|auth|cred|session)[^=&#]*=)[^&#]+", re.IGNORECASE)


def is_source(words: Sequence[str]) -> bool:
    """Whether ``words`` name something other than a single file: an address, several files or a folder."""
    return len(words) > 1 or words[0].startswith(tuple(SOURCES)) or Path(words[0]).is_dir()


def fetch(
    words: Sequence[str], folder: Path, *, limit_bytes: int, tell: Tell = untold, guarded: bool = False
) -> Fetched:
    """Fetches a table into ``folder``; ``guarded``, for requests from elsewhere, allows only public addresses.

    Raises TableError where the table cannot be fetched.
    """
    prefix = next((one for one in SOURCES if words[0].startswith(one)), None) if len(words) == 1 else None
    if guarded and prefix not in REMOTE:
        begins = "It begins with https://, hf://datasets/ or openml: and a number."
        raise TableError(f"{words[0]!r} is not an address. {begins}")
    if prefix is None:
        return local.joined(words, folder, limit_bytes=limit_bytes, tell=tell)
    return SOURCES[prefix](words[0], folder, limit_bytes=limit_bytes, tell=tell, guarded=guarded)


def recorded(words: Sequence[str]) -> tuple[str, ...]:
    """Returns the arguments that fetch the table again: files with their whole path, addresses without secrets.

    >>> recorded(["https://a.example/b.csv?id=3&access_token=abc"]), recorded(["query:SELECT 1"])
    (('https://a.example/b.csv?id=3&access_token=...',), ('--query', 'SELECT 1'))
    """
    first = words[0]
    if first.startswith(local.QUERY):
        return ("--query", first.removeprefix(local.QUERY))
    if len(words) == 1 and first.startswith(REMOTE):
        return (SECRET.sub(r"\1...", first),)
    return tuple(str(Path(word).resolve()) for word in words)
