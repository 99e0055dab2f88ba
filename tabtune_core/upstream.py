"""The non-public names of other packages that we use, listed so that a change is noticed; and sources and licences of
weights.

Each package has one list: in the ``family.py`` of a model family, or in an ``upstream.py`` beside the code that relies
on it. Importing this module does not load those packages.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache, reduce
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Self

from tabtune_core.files.damaged import Damaged
from tabtune_core.files.plain_values import digest, entry, only

DISTRIBUTION = "tabtune-dashboard"
"""This product's own name on the Python package index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """One package that we rely on."""

    distribution: str
    """Its name on the Python package index."""
    tested: tuple[str, ...] = ()
    """Minor versions whose results a test compares with ours; empty if only the names matter."""
    names: Mapping[str, str]
    """Each non-public name as ``module:attribute.path``, and what we use it for."""

    @property
    def installed(self) -> str | None:
        """The installed version; None if the package is missing."""
        return installed(self.distribution)

    @property
    def is_tested(self) -> bool:
        """Whether the installed version is among the tested ones."""
        return self.installed is None or ".".join(self.installed.split(".")[:2]) in self.tested

    def missing(self) -> list[str]:
        """Returns the names that do not exist any more. Imports the package."""
        return [name for name in self.names if not _exists(name)]


def installed_now(distribution: str) -> str | None:
    """Returns the installed version of a package without importing it; None if it is missing."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


installed = lru_cache(installed_now)
"""``installed_now``, cached because every training step asks for it."""


def _exists(name: str) -> bool:
    module, _, path = name.partition(":")
    try:
        reduce(getattr, filter(None, path.split(".")), import_module(module))
    except (ImportError, AttributeError):
        return False
    return True


@dataclass(frozen=True, slots=True)
class Licence:
    """The licence of weights; the package that computes with them has its own licence.

    >>> print(BSD_3, Licence(None), Licence("Its own", commercial=False), sep="; ")
    BSD-3-Clause, commercial use allowed; not known; Its own, no commercial use
    """

    name: str | None
    """Its SPDX identifier if it has one; None: not known."""
    commercial: bool | None = None
    """Whether it allows commercial use; None: not known."""

    def __str__(self) -> str:
        if self.name is None:
            return "not known"
        said = {
            True: "commercial use allowed",
            False: "no commercial use",
            None: "whether commercial use is allowed is not known",
        }
        return f"{self.name}, {said[self.commercial]}"


LONGEST_NAME = 1_000
"""Most characters in a name that a page shows, such as a table's or a weights file's."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the weights of a run came from."""

    model: str
    file: str
    """File name."""
    repository: str | None
    """Hugging Face repository; None for a file in the package or on the person's disk."""
    revision: str | None
    """Commit of the repository; None if not known."""
    sha256: str
    """See ``checkpoints.identity_of``."""
    licence: Licence
    """Licence of the weights; unknown for a file that a person named, unless it is the model's own or all its weights
    share one.
    """

    def to_json(self) -> dict[str, Any]:
        """Returns plain values, as files keep them."""
        return asdict(self)

    @classmethod
    def of_base(cls, facts: Any) -> Self:
        """Reads the entry ``base`` of a file; files of earlier versions do not name a licence.

        Raises:
            Damaged: an entry is missing or invalid; the text names it.
        """
        whole = {"base": {"repository": None, "revision": None, "licence": None} | entry(facts, "base", dict)}
        only(whole["base"], ("model", "file", "repository", "revision", "sha256", "licence"), "'base'")
        licence = Licence(None)
        if whole["base"]["licence"] is not None:
            only(entry(whole, "base.licence", dict), ("name", "commercial"), "'base.licence'")
            kinds = {"name": (str, type(None)), "commercial": (bool, type(None))}
            licence = Licence(**{name: entry(whole, f"base.licence.{name}", kind) for name, kind in kinds.items()})
        if len(licence.name or "") > LONGEST_NAME:
            raise Damaged("its entry 'base.licence.name' is too long")
        return cls(
            model=name_entry(whole, "base.model"),
            file=name_entry(whole, "base.file"),
            repository=entry(whole, "base.repository", (str, type(None))),
            revision=entry(whole, "base.revision", (str, type(None))),
            sha256=digest(whole, "base.sha256"),
            licence=licence,
        )


def name_entry(facts: Any, name: str) -> str:
    """Reads the name of a file, table or model that a page shows.

    Raises:
        Damaged: it is empty, too long, or not a string.
    """
    if not 0 < len(found := str(entry(facts, name, str))) <= LONGEST_NAME:
        raise Damaged(f"its entry '{name}' is not a valid name of a table or file")
    return found


APACHE_2, BSD_3 = Licence("Apache-2.0", commercial=True), Licence("BSD-3-Clause", commercial=True)
