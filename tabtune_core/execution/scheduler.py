"""Where runs are put: one on each CUDA card at a time, and one on the CPU, so that a memory figure stays its run's own.

In: what a queued run asks for and what the slots hold. Out: the run to start next, and its slot.
"""

import re
from collections.abc import Callable, Collection, Sequence

from tabtune_core.gpus import count_cards
from tabtune_core.store.runs import Run

CPU = "cpu"
_CARD = re.compile(r"cuda(?::(\d+))?")


def slots_of(device: str, cards: int) -> list[str]:
    """The slots that would do for a setting ``device``, the preferred one first.

    A device that is not there takes the slot of the CPU, where its process says so. That is also where 'auto' runs on a machine without a
    card that the driver tells of: one at a time, whatever torch finds there.

    >>> slots_of("auto", 2), slots_of("cuda", 2), slots_of("cpu", 2), slots_of("auto", 0), slots_of("cuda:7", 2)
    (['cuda:0', 'cuda:1'], ['cuda:0'], ['cpu'], ['cpu'], ['cpu'])
    """
    if device == "auto" and cards:
        return [f"cuda:{place}" for place in range(cards)]
    named = _CARD.fullmatch(device)
    place = int(named[1] or 0) if named else cards
    return [f"cuda:{place}"] if place < cards else [CPU]


class Slots:
    """Those of one machine. The cards are counted once: ``count`` asks the driver."""

    def __init__(self, count: Callable[[], int] = count_cards) -> None:
        self.cards = count()

    def next(self, queued: Sequence[Run], taken: Collection[str]) -> tuple[Run, str] | None:
        """The first run that a free slot would do for, and that slot; None where all have to wait.

        A run that leaves the choice takes a card that no other queued run asks for by name, if one is free.
        """
        fitting = [slots_of(run.settings.device, self.cards) for run in queued]
        named = {slots[0] for slots in fitting if len(slots) == 1}
        for run, slots in zip(queued, fitting, strict=True):
            free = [slot for slot in slots if slot not in taken]
            if free:
                return run, min(free, key=lambda slot: slot in named)
        return None

    def are_full(self, taken: Collection[str]) -> bool:
        """Whether no run of any kind could start."""
        return {CPU, *(f"cuda:{place}" for place in range(self.cards))} <= set(taken)

    def of(self, run: Run) -> str:
        """The slot of a run that goes on already; its first choice where no worker wrote one down."""
        return run.slot or slots_of(run.settings.device, self.cards)[0]


def device_of(slot: str) -> str | None:
    """What a run's process is told to compute on; None on the CPU's slot, where its own settings say it."""
    return None if slot == CPU else slot
