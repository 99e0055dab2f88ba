"""The model families: a folder and a line each. What a folder holds is described by ``Family``; importing this loads no torch."""

from importlib import import_module

from tabtune_core.models.cards import Family, ModelCard

FOLDERS = (
    "tabicl",
    "tabdpt",
    "mitra",
)
"""Below this package, each with a ``family.py``; models are listed in this order."""
CARDS: tuple[ModelCard, ...] = tuple(card for folder in FOLDERS for card in import_module(f"tabtune_core.models.{folder}.family").CARDS)
EARLIER: dict[str, tuple[ModelCard, ...]] = {
    name: cards
    for folder in FOLDERS
    for name, cards in getattr(import_module(f"tabtune_core.models.{folder}.family"), "EARLIER", {}).items()
}
"""For a model's name, the weights that earlier versions had under it, each under a name of its own."""
FAMILIES: dict[str, Family] = {card.family.name: card.family for card in CARDS}
"""By name."""
