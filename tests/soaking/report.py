"""The report: a line per round, and a final table with verdicts.

In: the lines of the report. Out: text, and failures over all rounds.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from statistics import median
from typing import Any

GROWTH, ALLOWED = 0.10, {"mb": 20.0, "files": 20.0, "run": 5.0}
"""Allowed growth from the middle third to the last: a share plus a constant (MB, open files, files per run)."""
FEWEST = 9
"""The fewest rounds of one process that can be compared."""
KILLS = ("kill_child", "kill_worker", "kill_forkserver", "kill_all", "end_server", "freeze")


def line(told: dict[str, Any]) -> str:
    """One round in one line."""
    memory = " ".join(
        f"{name} {told[f'{name}_mb']:.0f} MB {told[f'{name}_files']} files"
        for name in ("dashboard", "worker")
        if f"{name}_mb" in told
    )
    return (
        f"{told['round']:4d} {told['seconds']:6.1f} s  {told['runs']:3d} runs  {memory}  {len(told['failures'])} "
        f"failures  {' '.join(told['actions'])}"
    )


def longest(told: Sequence[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """The longest series of rounds with one process; all rounds for figures without a process."""
    if not any(f"{name}_pid" in one for one in told):
        return list(told)
    return max((list(rounds) for _, rounds in groupby(told, lambda one: one.get(f"{name}_pid"))), key=len)


def thirds(told: Sequence[dict[str, Any]], name: str, unit: str) -> tuple[float, float, float] | None:
    """Medians of the first, middle and last third; None with too few rounds."""
    values = [one[f"{name}_{unit}"] for one in longest(told, name) if f"{name}_{unit}" in one]
    size = len(values) // 3
    return (
        (median(values[:size]), median(values[size:-size]), median(values[-size:])) if len(values) >= FEWEST else None
    )


def levels(told: Sequence[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """Lines of the table for the figures that should stay level, and failures."""
    lines, failures = [], []
    for name, unit in (
        ("dashboard", "mb"),
        ("worker", "mb"),
        ("dashboard", "files"),
        ("worker", "files"),
        ("files_per", "run"),
    ):
        title, found = f"{name} {unit}".replace("_", " "), thirds(told, name, unit)
        if found is None:
            lines.append(f"{title:16s} too few rounds of one process to compare")
            continue
        first, middle, last = found
        grown = last > middle * (1 + GROWTH) + ALLOWED[unit]
        lines.append(
            f"{title:16s} first {first:8.1f}  middle {middle:8.1f}  last {last:8.1f}  {'GREW' if grown else 'level'}"
        )
        if grown:
            failures.append(f"{title} grew from {middle:.1f} to {last:.1f}")
    return lines, failures


def summary(told: Sequence[dict[str, Any]], outcomes: Counter[str]) -> tuple[str, int]:
    """The final table, and the number of failures."""
    actions = Counter(name for one in told for name in one["actions"])
    failures = [failure for one in told for failure in one["failures"]]
    lines, grown = levels(told)
    listed = "\n".join(f"  round {one['round']}: {one['kind']}: {one['text']}" for one in failures)
    parts = {
        "rounds": str(len(told)),
        "actions": ", ".join(f"{name} {number}" for name, number in actions.most_common()),
        "runs": ", ".join(f"{name} {number}" for name, number in outcomes.most_common()),
        "kills": str(sum(actions[name] for name in KILLS)),
        "failures": f"{len(failures) + len(grown)} "
        f"({', '.join(f'{kind} {n}' for kind, n in Counter(one['kind'] for one in failures).most_common())})",
    }
    return "\n".join([*(f"{name:16s} {text}" for name, text in parts.items()), *lines, listed, *grown]), len(
        failures
    ) + len(grown)
