"""What runs are called where they stand side by side: short, and no two the same.

In: the settings of runs. Out: a name each, which says what tells it from the others: ``LoRA r=8, dropout 0.1 seed 1``.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

from tabtune_core.settings import TRAINED, RunSettings
from tabtune_core.settings.serialization import written_targets

LONGEST_TARGETS = 40
"""Letters of a set of parts in a name."""


def distinct_labels(runs: Sequence[RunSettings]) -> list[str]:
    """A name for each run of a sweep; the seed is in it where there are several."""
    named = told_apart([run.label for run in runs], runs)
    if len({run.seed for run in runs}) > 1:
        named = [f"{name} seed {run.seed}" for name, run in zip(named, runs, strict=True)]
    return numbered(named)


def told_apart(names: Sequence[str], runs: Sequence[RunSettings]) -> list[str]:
    """To names that several runs have is added what differs between those runs: alpha, dropout, targets or learning rate."""
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
    """A name that comes again has a number behind it, which makes it none of the others.

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
    """A set of parts in few letters."""
    whole = written_targets(targets)
    return whole if len(whole) <= LONGEST_TARGETS else f"{targets[0]} and {len(targets) - 1} more"


def short_rate(rate: float, decimals: int = 6) -> str:
    """A learning rate as it is written down, with at most so many decimals.

    >>> short_rate(0.0002), short_rate(1.5e-5), short_rate(2e-4 / 3, 2)
    ('2e-4', '1.5e-5', '6.67e-5')
    """
    digits, exponent = f"{rate:.{decimals}e}".split("e")
    return f"{float(digits):g}e{int(exponent)}"


def _facts(run: RunSettings) -> dict[str, str]:
    facts = {}
    if run.strategy == "peft":
        lora = run.lora
        facts = {
            "alpha": f"alpha {lora.effective_alpha:g}",
            "dropout": f"dropout {lora.dropout:g}",
            "targets": f"targets {short_targets(lora.targets)}",
        }
    if run.strategy in TRAINED:
        facts["rate"] = f"rate {short_rate(run.base_rate)}"
    return facts
