"""A round: actions drawn from the seed, a wait until nothing is running, and the checks.

Also the state passed to the next round.
"""

import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from soaking import browsing, checks
from soaking.actions import ACTIONS, SERVER_KILLS
from soaking.lab import Lab
from tabtune_core.store.run_row import ENDED, Run

CYCLE, ROUGH = 40, 10
"""In ``ROUGH`` of ``CYCLE`` rounds the server and the worker may be ended; in the others they stay, so their memory can
be compared.
"""


def plan(seed: int, number: int, actions: Sequence[str] | None = None) -> list[tuple[str, random.Random]]:
    """The actions of a round with their random generators; a seed gives the same ones on every machine."""
    chance = random.Random(f"{seed} {number}")
    names = actions or [name for name in ACTIONS if number % CYCLE < ROUGH or name not in SERVER_KILLS]
    chosen = chance.choices(names, [ACTIONS[name][0] for name in names], k=chance.randrange(4, 9))
    return [(name, random.Random(f"{seed} {number} {place}")) for place, name in enumerate(["launch_sweep", *chosen])]


@dataclass
class Round:
    """The state and findings of a round; most fields are passed to the next."""

    lab: Lab
    chromium: browsing.Chromium | None
    number: int = 0
    failures: list[dict[str, Any]] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)
    """Runs that were asked to end."""
    known: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    open: set[str] = field(default_factory=set)
    """Known runs whose end has not been checked."""
    outcomes: Counter[str] = field(default_factory=Counter)
    told_left: set[str] = field(default_factory=set)
    told_jobs: set[str] = field(default_factory=set)
    read: dict[Path, int] = field(default_factory=dict)

    def fail(self, kind: str, text: str) -> None:
        """Records a failure; the soak continues."""
        text = " ".join(text.split())
        self.failures.append({"round": self.number, "kind": kind, "text": text})
        print(f"    {kind}: {text}", flush=True)

    def by_command(self, run: Run) -> bool:
        """Whether an ended command may have cancelled the run."""
        return self.lab.disturbed and run.status in ENDED


def carry_out(round_: Round, seed: int, number: int, actions: Sequence[str] | None = None) -> dict[str, Any]:
    """Runs one round and returns its line of the report."""
    round_.number, round_.failures, round_.lab.disturbed = number, [], False
    began, done = time.monotonic(), []
    for name, chance in plan(seed, number, actions):
        try:
            ACTIONS[name][1](round_, chance)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong is what the soak is there to find
            round_.fail(f"action {name}", f"{type(error).__name__}: {str(error)[:500]}")
        done.append(name)
        checks.note_new_runs(round_)
    acted = time.monotonic() - began
    checks.settle(round_)
    for check in checks.CHECKS:
        check(round_)
    times = {"acted_seconds": round(acted, 1), "seconds": round(time.monotonic() - began, 1)}
    return {"round": number, **times, "actions": done, **checks.figures(round_), "failures": round_.failures}
