"""The guide's quick reference (section 15) and rank rule (section 4.1) as data, and which row of it fits a table."""

from dataclasses import dataclass

from tabtune_core.settings import LoraSettings
from tabtune_core.settings.labels import short_rate

SMALL_TABLE_ROWS = 10_000
MEDIUM_TABLE_ROWS = 100_000
"""Where the guide's tables go on to the next row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One row of the quick reference."""

    title: str
    lora: LoraSettings
    learning_rate: float

    @property
    def said(self) -> str:
        """For example ``rank 4, alpha 8, dropout 0.1, learning rate 2e-4``."""
        lora = self.lora
        return f"rank {lora.rank}, alpha {lora.effective_alpha:g}, dropout {lora.dropout:g}, learning rate {short_rate(self.learning_rate)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What to start with on one table."""

    preset: str
    """Its key in PRESETS."""
    reason: str


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
    return PRESETS[propose(rows).preset]


def propose(rows: int) -> Proposal:
    """What to start with on a table of so many rows, and why.

    >>> propose(569).reason
    '569 rows: small data, up to 10,000 rows. Few rows bear few parameters, and dropout keeps the adapter from memorizing them.'
    """
    if rows <= SMALL_TABLE_ROWS:
        why = f"small data, up to {SMALL_TABLE_ROWS:,} rows. "
        why += "Few rows bear few parameters, and dropout keeps the adapter from memorizing them."
        return Proposal(preset="small", reason=f"{rows:,} rows: {why}")
    if rows <= MEDIUM_TABLE_ROWS:
        why = f"medium data, up to {MEDIUM_TABLE_ROWS:,} rows. There is enough to fill a rank of 8, and a little dropout will do."
        return Proposal(preset="medium", reason=f"{rows:,} rows: {why}")
    why = f"large data, beyond {MEDIUM_TABLE_ROWS:,} rows. They can fill a higher rank, at a lower rate, almost without dropout."
    return Proposal(preset="large", reason=f"{rows:,} rows: {why}")
