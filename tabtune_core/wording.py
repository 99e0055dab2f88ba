"""Words that several sentences share."""


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "run"), counted(2_000, "run"), counted(0, "set of target modules")
    ('1 run', '2,000 runs', '0 sets of target modules')
    """
    head, of, rest = noun.partition(" of ")
    return f"{number:,} {head}{'s' * (number != 1)}{of}{rest}"
