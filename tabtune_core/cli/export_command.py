"""``export``: a sweep as one page, or at a tracker.

In: the store. Out: a file, or runs at another tool; on stdout where it is.
"""

import argparse
from pathlib import Path

from tabtune_core.cli.board import runs_of_sweep
from tabtune_core.cli.terminal import say
from tabtune_core.store.runs import RunStore


def export_sweep(asked: argparse.Namespace) -> int:
    """Writes or sends a sweep."""
    store = RunStore(asked.home)
    sweep = runs_of_sweep(store, asked.sweep)[0].sweep
    what, _, where = asked.to.partition(":")
    if what == "html":
        from tabtune_core.analysis.sweep_page import sweep_page

        file = Path(where or f"sweep-{sweep}.html")
        file.write_text(sweep_page(store, sweep), encoding="utf-8")
        print(file)
        return 0
    from tabtune_core.tracking import open_tracker
    from tabtune_core.tracking.mirror import Mirror

    tracker = open_tracker(asked.to, store.home)
    say(Mirror(store, sweep, tracker).send())
    print(tracker.look)
    return 0
