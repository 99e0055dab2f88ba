"""When a low-rank update costs less as a whole matrix than as its two factors. Loads no torch."""

SKINNY = 3
"""A product with the rank as one side takes so many times as long a number as one of full widths takes, both ways taken together."""


def is_whole(out: int, width: int, rank: int) -> bool:
    """Whether one product with B A, of the weight's own shape, takes less time than two with A and B.

    >>> is_whole(512, 512, 8), is_whole(32, 32, 8)
    (False, True)
    """
    return out * width <= SKINNY * rank * (out + width)
