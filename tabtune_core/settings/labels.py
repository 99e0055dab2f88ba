"""Short, distinct names for runs that are shown together.

In: the settings of runs. Out: a name for each that says how it differs: ``LoRA r=8, dropout 0.1 seed 1``.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from tabtune_core.settings import SETTINGS, RunSettings
from tabtune_core.settings.serialization import written_targets

LONGEST_TARGETS = 40
"""Most characters that a name spends on a set of target modules."""


def distinct_labels(runs: Sequence[RunSettings]) -> list[str]:
    """Returns a name for each run of a sweep; the names contain the seed if there are several seeds."""
    named = told_apart([run.label for run in runs], runs)
    if len({run.seed for run in runs}) > 1:
        named = [f"{name} seed {run.seed}" for name, run in zip(named, runs, strict=True)]
    return numbered(named)


def told_apart(names: Sequence[str], runs: Sequence[RunSettings]) -> list[str]:
    """Adds to each name that several runs share what differs between them: alpha, dropout, targets or learning rate."""
    groups: dict[str, list[int]] = defaultdict(list)
    for i, name in enumerate(names):
        groups[name].append(i)
    named = list(names)
    for name, members in groups.items():
        facts = [_facts(runs[i]) for i in members]
        differing = [key for key in facts[0] if len({fact.get(key) for fact in facts}) > 1]
        for i, fact in zip(members, facts, strict=True):
            named[i] = ", ".join([name, *(fact[key] for key in differing if key in fact)])
    return named


def numbered(names: Sequence[str]) -> list[str]:
    """Appends a number to every repeated name, so that all names differ.

    >>> numbered(["r=8", "r=8 (2)", "r=8"])
    ['r=8', 'r=8 (2)', 'r=8 (3)']
    """
    seen, distinct = Counter[str](), dict[str, None]()
    for name in names:
        free = name
        while free in distinct:
            seen[name] += 1
            free = f"{name} ({seen[name] + 1})"
        distinct[free] = None
    return list(distinct)


def short_targets(targets: Sequence[str]) -> str:
    """Writes a set of target modules, a long one as the first and a count."""
    whole = written_targets(targets)
    return whole if len(whole) <= LONGEST_TARGETS else f"{targets[0]} and {len(targets) - 1} more"


def short_rate(rate: float, decimals: int = 6) -> str:
    """Writes a learning rate in short scientific notation with at most ``decimals`` decimals.

    >>> short_rate(0.0002), short_rate(1.5e-5), short_rate(2e-4 / 3, 2)
    ('2e-4', '1.5e-5', '6.67e-5')
    """
    digits, exponent = f"{rate:.{decimals}e}".split("e")
    return f"{float(digits):g}e{int(exponent)}"


WRITTEN: dict[str, Callable[[Any], str]] = {
    "alpha": "alpha {:g}".format,
    "dropout": "dropout {:g}".format,
    "targets": lambda targets: f"targets {short_targets(targets)}",
    "learning_rate": lambda rate: f"rate {short_rate(rate)}",
}
"""How a name writes a setting."""


def _facts(run: RunSettings) -> dict[str, str]:
    known = {name: write for name, write in WRITTEN.items() if run.strategy in SETTINGS[name].strategies}
    return {name: write(run.used(name)) for name, write in known.items()}
