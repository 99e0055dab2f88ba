"""Whether a run had the cores that it was given, or waited for them because more was running there, or stood still.

In: what the kernel counts of this process's threads, and a thread that mostly sleeps. Out: a note for the run; None where there is nothing
to say, or nothing counts that.
"""

import time
from pathlib import Path

from tabtune_core.events import Note

THREADS = Path("/proc/self/task")
WORTH_SAYING = 0.1
"""Share of the time in which a run could have computed."""
LEAST_SECONDS = 1.0
LATE_SECONDS = 5.0
"""By which no thread wakes late in a process that goes on."""


class Standstill:
    """How long the whole process stood still, as seen by a thread that slept meanwhile: it was sent STOP, or its machine was paused."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def sleep(self, seconds: float) -> None:
        """Sleeps, and counts by how much longer that took."""
        began = time.monotonic()
        time.sleep(seconds)
        late = time.monotonic() - began - seconds
        self.seconds += late if late > LATE_SECONDS else 0.0

    def note(self) -> Note | None:
        """For the end of a run, whose times hold these seconds."""
        if not self.seconds:
            return None
        return Note(
            f"The run's process stood still for about {self.seconds:,.0f} s: it was suspended, or its machine was. Its times hold these"
            " seconds, and do not compare with those of other runs.",
            "warning",
        )


def disturbed(threads: Path = THREADS) -> Note | None:
    """For the end of a run: by its own waiting, as the load of a machine says nothing of the cores that the run is held to."""
    ran = waited = 0.0
    for file in threads.glob("*/schedstat"):  # nanoseconds on a core, and ready to be: Documentation/scheduler/sched-stats.rst
        try:
            on_core, ready, _ = file.read_text().split()
        except (OSError, ValueError):  # the thread has ended, or a kernel that does not count
            continue
        ran, waited = ran + 1e-9 * int(on_core), waited + 1e-9 * int(ready)
    if waited < LEAST_SECONDS or waited < WORTH_SAYING * (ran + waited):
        return None
    return Note(
        f"The run was disturbed: its threads computed for {ran:,.0f} s and waited {waited:,.0f} s for a core that others used. What the"
        " thread that trains waited does not count as training time; where several threads compute one sum, that time is longer than"
        " without the others, and does not compare with that of other runs.",
        "warning",
    )
