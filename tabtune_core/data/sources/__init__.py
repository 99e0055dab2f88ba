"""Where a table comes from, when it is not one file on this machine: a function, and one line in SOURCES, a kind.

Before reading. In: the words of a person, such as an address. Out: a file that reading takes, and what to call it.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from tabtune_core.data.reading.progress import Tell, untold
from tabtune_core.data.sources import local, openml, web
from tabtune_core.data.sources.base import Fetch, Fetched
from tabtune_core.errors import TableError

SOURCES: dict[str, Fetch] = {
    "https://": web.fetch,
    "http://": web.fetch,
    "hf://": web.fetch_from_hub,
    "openml:": openml.fetch,
    local.QUERY: local.query,
}
"""By how the words begin."""
REMOTE = ("https://", "http://", "hf://", "openml:")
"""Of these, what a page may ask for; a query reads any file of the machine."""
SECRET = re.compile(r"([?&][^=&#]*(?:token|key|sig|secret|pass|auth|cred|session)[^=&#]*=)[^&#]+", re.IGNORECASE)


def is_source(words: Sequence[str]) -> bool:
    """Whether words name anything but one file: an address, several files, a folder of them."""
    return len(words) > 1 or words[0].startswith(tuple(SOURCES)) or Path(words[0]).is_dir()


def fetch(words: Sequence[str], folder: Path, *, limit_bytes: int, tell: Tell = untold, guarded: bool = False) -> Fetched:
    """Brings a table into ``folder``. ``guarded`` is for words of a person elsewhere: addresses alone, and none of a private network.

    Raises TableError where that cannot be.
    """
    prefix = next((one for one in SOURCES if words[0].startswith(one)), None) if len(words) == 1 else None
    if guarded and prefix not in REMOTE:
        raise TableError(f"{words[0]!r} is not an address. It begins with https://, hf://datasets/ or openml: and a number.")
    if prefix is None:
        return local.joined(words, folder, limit_bytes=limit_bytes, tell=tell)
    return SOURCES[prefix](words[0], folder, limit_bytes=limit_bytes, tell=tell, guarded=guarded)


def recorded(words: Sequence[str]) -> tuple[str, ...]:
    """The words as they are written down, for the command that repeats it: files by their whole path, and no secret of an address.

    >>> recorded(["https://a.example/b.csv?id=3&access_token=abc"]), recorded(["query:SELECT 1"])
    (('https://a.example/b.csv?id=3&access_token=...',), ('--query', 'SELECT 1'))
    """
    first = words[0]
    if first.startswith(local.QUERY):
        return ("--query", first.removeprefix(local.QUERY))
    if len(words) == 1 and first.startswith(REMOTE):
        return (SECRET.sub(r"\1...", first),)
    return tuple(str(Path(word).resolve()) for word in words)
