"""What ``fit(verbose=True)`` shows: one bar on stderr, with the loss and the best validation score."""

import sys

from tqdm import tqdm

from tabtune_core.events import Evaluated, Event, Note, PhaseStarted, RunPlanned, StepDone
from tabtune_core.metrics import METRICS


class FitBar:
    """Shows the events of a fit as they arrive. ``metric`` is the name of the selection metric."""

    def __init__(self, metric: str) -> None:
        self._metric = METRICS[metric]
        self._bar = tqdm(total=0, file=sys.stderr, unit="step", desc="load")
        self._facts: dict[str, str] = {}

    def take(self, event: Event) -> None:
        """Shows one event; events without a line here change nothing."""
        match event:
            case RunPlanned():
                self._bar.total = event.steps
            case PhaseStarted():
                self._bar.set_description(event.phase)
            case StepDone():
                self._facts["loss"] = f"{event.loss:.4f}"
                self._bar.update(event.step - self._bar.n)
            case Evaluated(split="validation", best=True):
                score = event.scores[self._metric.name]
                self._facts[f"best {self._metric.name}"] = self._metric.text(score)
            case Note(severity="warning"):
                self._bar.write(f"Warning: {event.text}", file=sys.stderr)
        self._bar.set_postfix(self._facts, refresh=False)

    def close(self) -> None:
        """Draws the bar a last time and leaves it on the screen."""
        self._bar.refresh()
        self._bar.close()
