"""The guide's quick reference (section 15) and rank rule (section 4.1) as data and one function."""

from dataclasses import dataclass

from tabtune_core.settings import LoraSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One row of the quick reference."""

    title: str
    lora: LoraSettings
    learning_rate: float


PRESETS: dict[str, Preset] = {
    "small": Preset(title="Small data (to 10,000 rows)", lora=LoraSettings(rank=4, alpha=8, dropout=0.1), learning_rate=2e-4),
    "medium": Preset(title="Medium data (to 100,000 rows)", lora=LoraSettings(rank=8, alpha=16, dropout=0.05), learning_rate=2e-4),
    "large": Preset(title="Large data (beyond)", lora=LoraSettings(rank=16, alpha=32, dropout=0.02), learning_rate=1e-4),
    "memory": Preset(title="Memory limited", lora=LoraSettings(rank=2, alpha=4, dropout=0.2), learning_rate=1e-4),
    "accuracy": Preset(title="Max accuracy", lora=LoraSettings(rank=16, alpha=32, dropout=0.05), learning_rate=5e-5),
}


def preset_for(rows: int) -> Preset:
    """The row of the guide's tables for a table of so many rows.

    >>> [preset_for(n).lora.rank for n in (500, 10_000, 100_000, 1_000_000)]
    [4, 4, 8, 16]
    """
    if rows <= 10_000:
        return PRESETS["small"]
    return PRESETS["medium"] if rows <= 100_000 else PRESETS["large"]
