"""What the runs of charts are called and how they look: the same on every page."""

from collections import Counter
from dataclasses import dataclass

import pandas as pd

from dashboard.formatting import labels
from tabtune_core.charts.style import Role, Styles, roles, styles_of
from tabtune_core.store.run_row import Run


@dataclass(frozen=True, slots=True)
class Legend:
    """The names of runs, in the order of a legend."""

    names: tuple[tuple[str, str], ...]
    """Run id and name; runs that share a name are drawn as their mean."""
    styles: Styles
    """One a name, in their order."""

    @property
    def labels(self) -> dict[str, str]:
        """By run id."""
        return dict(self.names)

    @property
    def together(self) -> bool:
        """Whether some runs share a name."""
        return len(self.styles) < len(self.names)

    def name(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame with its column ``run`` (ids) as names that carry their looks."""
        named = self.labels
        run = pd.Categorical(frame["run"].map(named), categories=list(dict.fromkeys(named.values())))
        frame = frame.assign(run=run)
        frame.attrs["styles"] = self.styles
        return frame


def legend_of(runs: list[Run], among: list[Run] | None = None) -> Legend:
    """Each run under a name of its own, with the name and look that it has ``among`` all runs of its sweep."""
    whole = among or runs
    in_time = sorted(whole, key=lambda run: run.created)  # not as queued, which a person can change
    looks = dict(zip([run.id for run in in_time], styles_of(roles([run.settings for run in in_time])), strict=True))
    named = labels(whole)
    return Legend(tuple((run.id, named[run.id]) for run in runs), Styles(looks[run.id] for run in runs))


def grouped_legend(groups: dict[str, str], shown: list[Run]) -> Legend:
    """The runs that are ``shown`` under the name of their group, by run id; each group of all is a colour."""
    names = list(dict.fromkeys(groups.values()))
    looks = dict(zip(names, styles_of([Role(name, name) for name in names]), strict=True))
    sizes = Counter(groups[run.id] for run in shown)
    written = {name: name if size == 1 else f"{name} · mean of {size}" for name, size in sizes.items()}
    return Legend(tuple((run.id, written[groups[run.id]]) for run in shown), Styles(looks[name] for name in sizes))
