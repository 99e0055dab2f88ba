"""What a search varies: rank, learning rate, dropout, adapted parts, variant, context rows while training.

In: the settings to start from, which stay as they are except for what is varied. Out: settings <-> a trial's numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tabtune_core.models.cards import ModelCard
from tabtune_core.models.catalogue import get_card, with_usual_rate
from tabtune_core.settings import SETTINGS, RunSettings
from tabtune_core.store.searches import Search
from tabtune_core.variants import VARIANTS

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

RANKS = (1, 2, 4, 8, 16, 32)
DROPOUTS = (0.0, 0.05, 0.1)
"""The guide's section 4.3, without its highest."""
ORDERED = ("rank", "dropout", "context_rows")
RATE = "learning_rate"
LOWEST_RATE, HIGHEST_RATE = 0.5, 20.0
"""Multiples of the model's default; the sweep's halving tries up to 16."""
VARIED = ("rank", RATE, "dropout", "targets", "use_dora", "init_lora_weights", "context_rows", "device")
"""Settings that may differ between runs that teach a search; a device changes no score but in the last digits."""
WORDS = {
    "rank": "rank",
    RATE: "learning rate",
    "dropout": "dropout",
    "targets": "adapted parts",
    "variant": "variant",
    "context_rows": "context rows while training",
}


@dataclass(frozen=True, slots=True)
class Space:
    """The values that a search chooses from. A trial's number is the place of a value; the rate is itself."""

    template: RunSettings
    options: Mapping[str, tuple[Any, ...]]
    """By name, at least two values; a setting that the person has changed is not varied."""
    rates: tuple[float, float] | None
    """Lowest and highest learning rate; None if the person named one."""

    @classmethod
    def around(cls, template: RunSettings, train_rows: int) -> "Space":
        """Returns the space around settings whose learning rate may be filled in."""
        usual = {name: template.is_usual(name) for name in VARIED}
        variants = tuple(VARIANTS) if usual["use_dora"] and usual["init_lora_weights"] else ()
        rows = template.train.context_rows
        named = {
            "rank": RANKS,
            "dropout": DROPOUTS,
            "targets": _parts(get_card(template.model), template),
            "variant": variants,
            "context_rows": tuple(many for many in (rows // 2, rows, 2 * rows) if 10 <= many < max(train_rows, rows)),
        }
        options = {name: values for name, values in named.items() if usual.get(name, True) and len(values) > 1}
        rate = with_usual_rate(template.changed(learning_rate=None)).learning_rate
        chosen = template.train.learning_rate in (None, rate)
        return cls(template, options, (LOWEST_RATE * rate, min(HIGHEST_RATE * rate, 1.0)) if chosen else None)

    def distributions(self) -> dict[str, "BaseDistribution"]:
        """Returns what Optuna draws from."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        made: dict[str, BaseDistribution] = (
            {} if self.rates is None else {RATE: FloatDistribution(*self.rates, log=True)}
        )
        for name, values in self.options.items():
            last = len(values) - 1
            made[name] = IntDistribution(0, last) if name in ORDERED else CategoricalDistribution(range(last + 1))
        return made

    def settings(self, numbers: Mapping[str, Any]) -> RunSettings:
        """Returns the run of a trial."""
        values = {name: self.options[name][place] for name, place in numbers.items() if name != RATE}
        if (variant := values.pop("variant", None)) is not None:
            values |= {"use_dora": variant == "dora", "init_lora_weights": "pissa" if variant == "pissa" else "default"}
        if RATE in numbers:
            values[RATE] = float(f"{numbers[RATE]:.2g}")
        return self.template.changed(**values)

    def numbers(self, run: RunSettings) -> dict[str, Any] | None:
        """Returns the trial of a run that differs from the template only in what is varied; None for another run."""
        if run.strategy != "peft" or _fixed(run) != _fixed(self.template):
            return None
        own = {**{name: run.value(name) for name in (*ORDERED, "targets")}, "variant": run.lora.variant}
        fits = all(own[name] in values for name, values in self.options.items())
        numbers: dict[str, Any] = (
            {name: values.index(own[name]) for name, values in self.options.items()} if fits else {}
        )
        if self.rates is not None:
            numbers[RATE] = run.learning_rate
            fits &= self.rates[0] <= run.learning_rate <= self.rates[1]
        return numbers if fits and self.settings(numbers).changed(device=run.device) == run else None


def space_of(search: Search) -> Space:
    """Returns the space of a search in the store."""
    return Space.around(search.template, int(search.sizes["train_rows"]))


def _fixed(run: RunSettings) -> RunSettings:
    return run.changed(**{name: SETTINGS[name].default for name in VARIED})


def _parts(card: ModelCard, run: RunSettings) -> tuple[tuple[str, ...], ...]:
    """Returns the model's own list of adapted parts, and the groups that have other layers."""
    if run.checkpoint is not None:  # it may have other layers
        return ()
    shapes: dict[tuple[str, ...], tuple[str, ...]] = {tuple(card.adapted_shapes(run.task)): ()}
    for group in card.rules(run.task).groups:
        if layers := tuple(card.adapted_shapes(run.task, (group,))):
            shapes.setdefault(layers, (group,))
    return tuple(shapes.values())
