"""Names that we use of other packages beyond their public interface, so that a change there is noticed and reported; licences of weights.

Each package has one list: in the ``family.py`` of a model family, or an ``upstream.py`` beside the code that relies on it. Importing this
does not load them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, reduce
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

DISTRIBUTION = "tabtune-dashboard"
"""This product's own name on the Python package index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """One package."""

    distribution: str
    """Its name on the Python package index."""
    tested: tuple[str, ...] = ()
    """Minor versions of which a test compares our numbers with its own; empty where only the names matter."""
    names: Mapping[str, str]
    """``module:attribute.path`` of what is not public, and what we use it for."""

    @property
    def installed(self) -> str | None:
        """The installed version; None if the package is missing."""
        return installed(self.distribution)

    @property
    def is_tested(self) -> bool:
        """Whether the installed version is among the tested ones."""
        return self.installed is None or ".".join(self.installed.split(".")[:2]) in self.tested

    def missing(self) -> list[str]:
        """Those of the names that are gone. Imports the package."""
        return [name for name in self.names if not _exists(name)]


def installed_now(distribution: str) -> str | None:
    """The installed version of a package, found without importing it; None if it is missing."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


installed = lru_cache(installed_now)
"""The same, remembered: it is asked at every step of a training."""


def _exists(name: str) -> bool:
    module, _, path = name.partition(":")
    try:
        reduce(getattr, filter(None, path.split(".")), import_module(module))
    except (ImportError, AttributeError):
        return False
    return True


@dataclass(frozen=True, slots=True)
class Licence:
    """What the owner of weights allows; the package that computes with them has a licence of its own.

    >>> print(BSD_3, Licence(None), Licence("Its own", commercial=False), sep="; ")
    BSD-3-Clause, commercial use allowed; not known; Its own, no commercial use
    """

    name: str | None
    """As SPDX writes it where it is listed there; None: not known."""
    commercial: bool | None = None
    """Whether it allows commercial use; None: not known."""

    @classmethod
    def of(cls, base: Mapping[str, Any]) -> "Licence":
        """What a file says of its base; those of earlier versions say nothing."""
        return cls(**(base.get("licence") or {"name": None}))

    def __str__(self) -> str:
        if self.name is None:
            return "not known"
        said = {True: "commercial use allowed", False: "no commercial use", None: "whether commercial use is allowed is not known"}
        return f"{self.name}, {said[self.commercial]}"


APACHE_2, BSD_3 = Licence("Apache-2.0", commercial=True), Licence("BSD-3-Clause", commercial=True)
