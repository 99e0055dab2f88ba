"""The time of a search: how long a run takes, what is the least, and when it asks for no more.

In: paces of earlier runs, or of a few measured steps. Out: seconds, and refusals in a sentence.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from tabtune_core.analysis.runtime_estimate import Pace, TrainedOn, train_seconds
from tabtune_core.errors import SettingError
from tabtune_core.settings import AXES, TRAINED, RunSettings, SweepSettings
from tabtune_core.store.runs import RunStore

LEAST_RUNS = 2
"""A search that cannot compare two runs finds nothing."""
LEAST_SECONDS = 30.0
"""While the time of a run is not known: two processes that load torch and a model take most of this."""
MOST_MINUTES = 100_000
"""Ten weeks: more is a typing error."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The runs of a search that are known before it begins."""

    first: tuple[RunSettings, ...]
    """Zero-shot and the references."""
    template: RunSettings
    """The first LoRA run, from which the search starts."""
    last: tuple[RunSettings, ...]
    """Full fine-tuning once, or nothing."""

    @classmethod
    def of(cls, sweep: SweepSettings) -> "Parts":
        """Returns the parts of a sweep, in place of its ranks and rates; SettingError if it lists several values."""
        several = [name for name in (*AXES, "seeds") if name != "ranks" and len(getattr(sweep, name)) > 1]
        if several:
            raise SettingError(f"A search chooses its values itself: give one value of {', '.join(several)}, or none.")
        seeded = dataclasses.replace(sweep.run, seed=sweep.seeds[0])
        return cls.sort([*sweep.one_seed(), seeded.with_strategy("peft")])

    @classmethod
    def sort(cls, runs: Sequence[RunSettings]) -> "Parts":
        """Sorts runs, of which the last LoRA run is the template."""
        first = tuple(run for run in runs if run.strategy not in TRAINED)
        lora = [run for run in runs if run.strategy == "peft"]
        return cls(first, lora[-1], tuple(run for run in runs if run.strategy == "base-ft"))

    @property
    def runs(self) -> list[RunSettings]:
        """All of them."""
        return [*self.first, self.template, *self.last]

    def add(self, store: RunStore, seconds: float, trained_on: TrainedOn, name: str) -> tuple[str, list[str]]:
        """Adds the search to the store; returns its sweep's id and those of its first runs."""
        sizes = dataclasses.asdict(trained_on)
        return store.add_search(self.first, self.template, last=self.last, seconds=seconds, sizes=sizes, name=name)


@dataclass(frozen=True, slots=True)
class Clock:
    """Estimates the seconds of runs."""

    paces: Sequence[Pace]
    trained_on: TrainedOn
    overhead: float = 0.0
    """Seconds beside the training of a run: loading, and predictions at its end."""

    def seconds_of(self, run: RunSettings) -> float | None:
        """Returns how long a run takes: by runs like it, or else by the slowest LoRA run of its model, cell by cell."""
        if (known := train_seconds([run], self.paces, self.trained_on)) is not None:
            return known.seconds + self.overhead
        size = self.trained_on.size_of(run)
        near = [pace for pace in self.paces if pace.kind[0] == run.model and pace.size.device == size.device]
        if not near:
            return None
        a_cell = max(pace.seconds_a_step / pace.size.cells for pace in near)
        train = a_cell * size.cells * self.trained_on.steps_of(run)
        return min(train, run.train.time_limit or math.inf) + self.overhead

    def of_all(self, runs: Sequence[RunSettings]) -> float:
        """Returns the seconds of these runs together; unknown ones count as 0."""
        return sum(self.seconds_of(run) or 0.0 for run in runs)


def in_words(seconds: float) -> str:
    """Writes seconds as a person says them.

    >>> in_words(40.2), in_words(120), in_words(700)
    ('40 s', '2 minutes', '12 minutes')
    """
    return f"{seconds:.0f} s" if seconds < 100 else f"{math.ceil(seconds / 60)} minutes"


def check_budget(seconds: float, template: RunSettings, last: Sequence[RunSettings], clock: Clock) -> str:
    """Says how long a run takes; SettingError if the time is not enough for two and for those at the end, or no time.

    While that is not known, only a time is refused in which not even the processes start.
    """
    if not 0 < seconds <= 60 * MOST_MINUTES:
        raise SettingError(f"{seconds / 60:g} minutes are no time for a search: above 0, at most {MOST_MINUTES:,}.")
    if (one := clock.seconds_of(template)) is None:
        unknown = "How long a run takes here is not known yet"
        if seconds < LEAST_SECONDS:
            least_time = f"at least {in_words(LEAST_SECONDS)} are needed. Nothing was started."
            raise SettingError(f"{unknown}, but {in_words(seconds)} are too short: {least_time}")
        return f"{unknown}; the search learns it from its first run."
    least = LEAST_RUNS * one + clock.of_all(last)
    if seconds < least:
        beside = "" if not last else " with full fine-tuning at the end"
        minutes = math.ceil(least / 30) / 2
        needed = "1 minute is" if minutes == 1 else f"{minutes:g} minutes are"
        raise SettingError(
            f"A run takes about {in_words(one)} here; at least {needed} needed{beside}. Nothing was started."
        )
    return f"A run takes about {in_words(one)} to its end; runs that fall behind stop at a sixth or a third of it."
