"""Names that we use of other packages beyond their public interface, so that a change there is noticed and reported.

Each package has one file that lists it, an ``upstream.py`` beside the code that relies on it. Importing this does not load them.
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
