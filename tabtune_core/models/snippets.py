"""Python code, as text, that opens an exported file and predicts with it; an export runs it before it is shown."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Snippet:
    """Python that opens a file and predicts with it, in two parts: after the first, ``rows`` are the rows to predict."""  # noqa: E501

    setup: str
    use: str
    through: str
    """The class whose code opens the file."""
    views: int = 1
    """Ensemble size of its predictions; the run's own may have been larger."""

    @property
    def code(self) -> str:
        """The code as a user runs it."""
        return f"{self.setup}\n{self.use}\nprint(predicted)\n"
