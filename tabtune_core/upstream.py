"""The non-public names of other packages that we use, so that a change is noticed; sources and licences of weights.

Each package has one list, in a family's ``family.py``, an ``upstream.py`` beside its code, or here (torch). Loads none.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache, reduce
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Self

from tabtune_core.files.damaged import Damaged
from tabtune_core.files.plain_values import digest, entry, restored

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
        if self.commercial is None:
            return f"{self.name}, whether commercial use is allowed is not known"
        return f"{self.name}, {'commercial use allowed' if self.commercial else 'no commercial use'}"


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
    """Of the weights, with the files beside them."""
    licence: Licence
    """Unknown for a file that a person named, unless it is the model's own or all its weights share one."""

    def to_json(self) -> dict[str, Any]:
        """Returns plain values, as files keep them."""
        return asdict(self)

    @classmethod
    def of_base(cls, facts: Any) -> Self:
        """Reads the entry ``base`` of a file; raises Damaged, TypeError or AttributeError if it is invalid."""
        made = restored(cls, entry(facts, "base", dict))
        digest(facts, "base.sha256")
        for name in (made.model, made.file, made.licence.name or "-"):
            checked_name(name, "base")
        return made


def checked_name(name: str, of: str) -> str:
    """Returns the name of a file, table or model that a page shows; raises Damaged if it is empty or too long."""
    if not 0 < len(name) <= LONGEST_NAME:
        raise Damaged(f"its entry '{of}' has no valid name of a table or file")
    return name


APACHE_2, BSD_3 = Licence("Apache-2.0", commercial=True), Licence("BSD-3-Clause", commercial=True)


TORCH = Upstream(
    distribution="torch",
    names={
        "torch._C:DisableTorchFunctionSubclass": "reads the plain tensor of a weight with a separate update",
        "torch._C:_disabled_torch_function_impl": "labels that override torch's functions",
        "torch:_foreach_copy_": "copies all factors to 16 bits at once",
        "torch._dynamo:config": "loaded ahead of the first optimizer",
        "torch:ops.aten.native_dropout": "dropout in one kernel",
        "torch:ops.aten.native_dropout_backward": "applies a dropout mask again",
        "torch:ops.aten._unsafe_view": "an output that may be changed in place under autograd",
    },
)
"""Names of torch that are not public and that we use."""
