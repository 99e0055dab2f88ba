"""The layout of a text file, and some of its lines, as whoever reads it has to know them."""

from dataclasses import dataclass, field

LISTED_LINES = 10


@dataclass(slots=True)
class Lines:
    """Some lines of a file, by the numbers of the first."""

    count: int = 0
    first: list[int] = field(default_factory=list)

    def add(self, number: int) -> None:
        """Counts one more."""
        self.count += 1
        if len(self.first) < LISTED_LINES:
            self.first.append(number)

    def __str__(self) -> str:
        """In words.

        >>> str(Lines(1, [4])), str(Lines(12, [1, 2]))
        ('Line 4', 'Lines 1, 2 and 10 more')
        """
        more = self.count - len(self.first)
        return f"Line{'s' * (self.count > 1)} {', '.join(map(str, self.first))}" + (f" and {more:,} more" if more else "")


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a reader has to be told about a file."""

    delimiter: str
    quote: str
    escape: str
    skip: int
    """Lines above the table."""

    width: int
    """Cells in a row."""

    header: bool
    """Whether the first line of the table holds names."""

    short_header: bool
    """The header is one cell short: the first column holds row names, as R writes them, or the lines end in a separator."""

    comments: Lines = field(default_factory=Lines)
    """Lines of the table that are not rows."""
