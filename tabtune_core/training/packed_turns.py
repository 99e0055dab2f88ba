"""The runs of a pack, each in a thread of its own. They take turns: one at a time computes, and they meet where a step asks for its loss.

In: several runs of the same episodes. Out: each goes on as it does alone, from loading to its adapter; losses are computed together.
Each has random numbers of its own, which take the place of torch's global ones while it has its turn.
"""

import dataclasses
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import torch

from tabtune_core.devices import random_states, set_random_states
from tabtune_core.events import RunFinished
from tabtune_core.models.base import BaseModel, Trainable
from tabtune_core.training.array_cache import SharedArrays
from tabtune_core.training.packed import PackedModel, PackedPass

State = Literal["ready", "asks", "trained", "over"]


class Pack:
    """What the runs of a pack have in common: arrays and their clock, what training took, and whose turn it is."""

    def __init__(self, count: int) -> None:
        self.members = [Member(self, place) for place in range(count)]
        self.arrays: SharedArrays | None = None
        """The first run's: what one run of a pack took from there costs the others nothing more."""
        self.costs: dict[str, Any] = {}
        """What training took: runs, train_seconds, growth_memory_bytes."""
        self._passes: PackedPass | None = None
        self._of: list[Member] = []
        self._changed, self._turn = threading.Condition(), 0

    def pass_on(self, member: "Member", state: State) -> None:
        """Ends a member's turn, and waits for its next one unless it is over."""
        with self._changed:
            member.state = state
            asking = [each for each in self.members if each.state == "asks"]
            if not self._ready():
                if asking:
                    self._compute(asking)
                for each in self.members:  # those that have trained check whether they may go
                    each.state = "ready" if each.state in ("asks", "trained") else each.state
            self._turn = next(iter(self._ready()), -1)
            self._changed.notify_all()
            if state != "over":
                self._changed.wait_for(lambda: self._turn == member.place)

    def wait_for_first_turn(self, member: "Member") -> None:
        """Until those before it have loaded their models."""
        with self._changed:
            self._changed.wait_for(lambda: self._turn == member.place)

    def _ready(self) -> list[int]:
        return [member.place for member in self.members if member.state == "ready"]

    def _compute(self, asking: list["Member"]) -> None:
        """The losses of those who ask; what goes wrong is everybody's."""
        try:
            if asking != self._of:
                self._of = asking
                self._passes = PackedPass([member.model for member in asking if member.model], asking[0].cut)
            assert self._passes is not None
            kind = list(asking[0].random)[-1]  # of the device that computes
            for member, generator in zip(asking, self._passes.generators, strict=True):
                generator.set_state(member.random[kind])
            with torch.enable_grad():
                losses = self._passes.losses(*asking[0].arguments)
            for member, loss, generator in zip(asking, losses, self._passes.generators, strict=True):
                member.answer, member.random[kind] = loss, generator.get_state()
        except Exception as error:  # noqa: BLE001 - each run raises it in its own thread
            for member in asking:
                member.answer = error


@dataclass(eq=False)
class Member:
    """One run of a pack; what its own thread calls."""

    pack: Pack
    place: int
    state: State = "ready"
    random: dict[str, torch.Tensor] = field(default_factory=dict)
    """States of torch's random numbers while it is not its turn: of the CPU, and of its GPU."""
    model: PackedModel | None = None
    cut: str | None = None
    trained: bool = False
    arguments: tuple[Any, ...] = ()
    answer: torch.Tensor | Exception | None = None

    def carry_out(self, run: Callable[[], object]) -> None:
        """All that the run does, from its first turn to its last; for a thread of its own."""
        self.pack.wait_for_first_turn(self)
        try:
            run()
        finally:
            self.pack.pass_on(self, "over")

    def join(self, model: BaseModel, cut: str | None) -> "JoinedModel":
        """Its model as training sees it. The frozen weights are the first run's from here on."""
        self.model, self.cut = cast(PackedModel, model), cut  # the catalogue refuses models of other families
        first = next(member.model for member in self.pack.members if member.model)
        shared = dict(first.module.named_parameters())
        for name, parameter in model.module.named_parameters():
            if not parameter.requires_grad:
                parameter.data = shared[name].data
        return JoinedModel(model.module, self._loss)

    @property
    def others(self) -> int:
        """How many runs train with it."""
        return len(self.pack.members) - 1

    def share(self, arrays: SharedArrays) -> SharedArrays:
        """The arrays that the pack uses, with the clock that it has in common: the first run's."""
        self.pack.arrays = self.pack.arrays or arrays
        return self.pack.arrays

    def wait_for_others(self, outcome: str, stop_request: Callable[[], str | None]) -> None:
        """Until all of the pack are here or over; a run that is cancelled has nothing to wait for."""
        self.trained = True
        while outcome != "cancelled" and stop_request() != "cancel":
            self._pass_on("trained")
            if all(other.trained or other.state == "over" for other in self.pack.members):
                return

    def without_costs(self, result: RunFinished) -> RunFinished:
        """Time and memory are the pack's, as the first run that is through has measured them, and no run's own."""
        self.pack.costs = self.pack.costs or {
            "runs": sum(member.model is not None for member in self.pack.members),
            "train_seconds": result.train_seconds,
            "growth_memory_bytes": result.growth_memory_bytes,
        }
        return dataclasses.replace(
            result,
            train_seconds=math.nan,
            shared_saved_seconds=0.0,
            shared_waited_seconds=0.0,
            train_wall_seconds=math.nan,
            peak_memory_bytes=None,
            growth_memory_bytes=None,
            predict_growth_memory_bytes=None,
            extra={**result.extra, "memory_by_cause_bytes": None, "pack": self.pack.costs},
        )

    def _loss(self, *arguments: Any) -> torch.Tensor:
        self.arguments = arguments
        self._pass_on("asks")
        if isinstance(self.answer, Exception):
            raise self.answer
        assert self.answer is not None
        return self.answer.requires_grad_()

    def _pass_on(self, state: State) -> None:
        assert self.model is not None
        device = next(self.model.module.parameters()).device
        self.random = random_states(device)
        self.pack.pass_on(self, state)
        set_random_states(self.random, device)


@dataclass(slots=True)
class JoinedModel:
    """What ``train`` asks of a model. A loss comes with its gradient in its parameters' ``grad``: its own backward pass is empty."""

    module: torch.nn.Module
    loss: Callable[..., torch.Tensor]


class Alone:
    """In place of a member, for a run that trains by itself: everything stays as it is."""

    others = 0

    def share(self, arrays: SharedArrays) -> SharedArrays:
        """Its own."""
        return arrays

    def join(self, model: BaseModel, cut: str | None) -> Trainable:
        """Its own."""
        return model

    def wait_for_others(self, outcome: str, stop_request: Callable[[], str | None]) -> None:
        """There are none."""

    def without_costs(self, result: RunFinished) -> RunFinished:
        """With them: they are its own."""
        return result


ALONE = Alone()
