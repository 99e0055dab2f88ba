"""What we rely on in other packages beyond what they promise, by name, so that a change of theirs is noticed and said.

Each package has one file that lists it, an ``upstream.py`` beside the code that relies on it. Importing this loads none of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, reduce
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

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
    """``module:attribute.path`` of what it does not promise, and what for we rely on it."""

    @property
    def installed(self) -> str | None:
        """The version that is here; None where none is."""
        return installed(self.distribution)

    @property
    def is_tested(self) -> bool:
        """Whether the version that is here is one of those that were tested."""
        return self.installed is None or ".".join(self.installed.split(".")[:2]) in self.tested

    def missing(self) -> list[str]:
        """Those of the names that are gone. Imports the package."""
        return [name for name in self.names if not _exists(name)]


def installed_now(distribution: str) -> str | None:
    """The version of a package that is here; None where none is. Found out without importing it."""
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
