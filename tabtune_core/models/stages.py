"""The stages of a forward pass: submodules in call order; a skipped one returns an unused tensor of the right shape."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from torch import Tensor, nn

from tabtune_core.models.cards import Family

Take = Callable[..., Tensor]
"""Returns the next cached tensor, in a given shape; one length may be -1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A module within a model, called by its forward with tensors first."""

    path: str
    skip: Callable[..., Any] | None = None
    """Called in place of the stage if a later one returns cached tensors; None: the stage always runs."""
    keep: Callable[..., list[Tensor]] | None = None
    """From the stage's output and arguments: the tensors that the rest needs; None: it cannot be cut here."""
    give: Callable[..., Any] | None = None
    """From ``Take`` and the arguments: the output with which the forward goes on as if earlier stages had run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """The stages of a model."""

    every: tuple[Stage, ...]
    """Stages in call order. Modules outside of them may be called or read anywhere."""
    entries: tuple[str, ...] = ("forward",)
    """Methods of the model that call the stages; one may call another."""


def stages_of(family: Family, module: nn.Module) -> Stages:
    """Returns the stages of a forward pass; none for an untested package version, whose calls may differ."""
    stages: Stages = family.code("model").stages(module) if family.upstream.is_tested else Stages(every=())
    return stages


@contextmanager
def replaced(stand_ins: Iterable[tuple[Any, str, Callable[..., Any]]]) -> Iterator[None]:
    """Replaces methods, given as owner, name and replacement, while the context lasts."""
    with ExitStack() as until_the_end:
        for stand_in in stand_ins:
            until_the_end.enter_context(patch.object(*stand_in))
        yield


class Instead:
    """A residual that turns ``x + residual`` into a tensor given beforehand, to the last bit."""

    def __init__(self, value: Tensor) -> None:
        self.value = value

    def __radd__(self, x: object) -> Tensor:
        """Returns the tensor in place of the sum."""
        return self.value


def first_of(*positional: Any, **named: Any) -> Any:
    """Returns the first argument of a call."""
    return (*positional, *named.values())[0]


def spread(x: Tensor, *shape: int) -> Tensor:
    """Returns zeros that take no memory, for callers that only read them."""
    return x.new_zeros(()).expand(shape)
