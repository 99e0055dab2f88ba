"""Whether a run had the cores that it was given, or waited for them because more was running there.

In: what the kernel counts of this process's threads. Out: a note for the run; None where they hardly waited, or nothing counts that.
"""

from pathlib import Path

from tabtune_core.events import Note

THREADS = Path("/proc/self/task")
WORTH_SAYING = 0.1
"""Share of the time in which a run could have computed."""
LEAST_SECONDS = 1.0


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
        f"The run was disturbed: its threads computed for {ran:,.0f} s and waited {waited:,.0f} s for a core that others used. Its times"
        " are longer than without them, and do not compare with those of other runs.",
        "warning",
    )
