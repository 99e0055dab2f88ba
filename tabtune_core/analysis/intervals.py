"""The columns that say how far a score or a gain may be off, and what is written about them."""

from tabtune_core.data.splits import SplitName

GAINS: dict[str, SplitName] = {"gain": "validation", "test_gain": "test"}
"""Column of leaderboards that holds a gain over zero-shot -> the part that it was measured on."""
PLUS_MINUS = "± is the side towards 0 of the 95 % interval of one comparison"
"""Intervals over rows are corrected for skew, so their ends may be at different distances."""


def half_width(column: str) -> str:
    """Returns the name of the column that holds the ± of each number in ``column``: see ``PLUS_MINUS``.

    >>> half_width("test_gain")
    'test_gain_half_width'
    """
    return f"{column}_half_width"
