"""Where runs are put: one on each CUDA GPU at a time, and on the CPU one on each share of the cores, so that its figures stay its own.

In: what a queued run asks for and what the slots hold. Out: the run to start next, and its slot.
"""

import re
from collections.abc import Callable, Collection, Sequence

from tabtune_core.execution.cores import CPU, Shares, busy_percent
from tabtune_core.gpus import count_cards
from tabtune_core.store.run_row import Run

_CARD = re.compile(r"cuda(?::(\d+))?")


def slots_of(device: str, cards: int) -> list[str]:
    """The slots that would do for a setting ``device``, the preferred one first; ``cpu`` for any share of the cores.

    A device that is not there takes a slot of the CPU, where its process says so. That is also where 'auto' runs on a machine without a
    GPU that the driver reports, whatever torch finds there.

    >>> slots_of("auto", 2), slots_of("cuda", 2), slots_of("cpu", 2), slots_of("auto", 0), slots_of("cuda:7", 2)
    (['cuda:0', 'cuda:1'], ['cuda:0'], ['cpu'], ['cpu'], ['cpu'])
    """
    if device == "auto" and cards:
        return [f"cuda:{place}" for place in range(cards)]
    named = _CARD.fullmatch(device)
    place = int(named[1] or 0) if named else cards
    return [f"cuda:{place}"] if place < cards else [CPU]


class Slots:
    """Those of one machine. The GPUs are counted once: ``count`` asks the driver."""

    def __init__(self, shares: Shares, count: Callable[[], int] = count_cards) -> None:
        self.shares = shares
        self.cards = count()

    def next(self, queued: Sequence[Run], taken: Collection[str], fits: Callable[[Run], bool] = lambda run: True) -> tuple[Run, str] | None:
        """The first run that a free slot would do for, and that slot; None where all have to wait.

        A run that leaves the choice takes a GPU that no other queued run asks for by name, if one is free. A run on the CPU that does not
        fit beside the others waits, and those on the CPU behind it do: it would else never come.
        """
        on_cpu = self.shares.next([slot for slot in taken if is_on_cpu(slot)], busy_percent())
        fitting = [slots_of(run.settings.device, self.cards) for run in queued]
        named = {slots[0] for slots in fitting if len(slots) == 1}
        for run, slots in zip(queued, fitting, strict=True):
            if slots == [CPU]:
                if on_cpu is not None and fits(run):
                    return run, on_cpu
                on_cpu = None
            elif free := [slot for slot in slots if slot not in taken]:
                return run, min(free, key=lambda slot: slot in named)
        return None

    def of(self, run: Run) -> str:
        """The slot of a run that goes on already; its first choice where no worker wrote one down."""
        return run.slot or slots_of(run.settings.device, self.cards)[0]


def is_on_cpu(slot: str) -> bool:
    """Whether a slot is of cores, and not a GPU."""
    return slot.partition(":")[0] == CPU


def device_of(slot: str) -> str | None:
    """What a run's process is told to compute on; None on a slot of the CPU, where its own settings say it."""
    return None if is_on_cpu(slot) else slot
