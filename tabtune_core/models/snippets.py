"""Python code, as text, that opens an exported file and predicts with it; an export runs it before it is shown."""

from dataclasses import dataclass

from tabtune_core.lora.package_facts import PackageFacts
from tabtune_core.models.catalogue import get_card


def file_name(form: str, facts: PackageFacts, run_id: str) -> str:
    """Returns the name of a download, without any text from the user; ``form`` is such as ``adapter`` or ``merged``."""
    ending = {"adapter": "zip", "pipeline": "zip", "lora": "pt"}.get(form) or get_card(facts.base.model).family.code(
        "export"
    ).ENDING
    start = {"lora": "lora_adapters"}.get(form, form)
    return f"{start}-{facts.base.model}-r{facts.settings.lora.rank}-{run_id}.{ending}"


@dataclass(frozen=True, slots=True)
class Snippet:
    """Python that opens a file and predicts with it, in two parts: after the first, ``rows`` are the rows to predict."""  # noqa: E501

    setup: str
    use: str
    through: str
    """The class whose code opens the file."""
    views: int
    """Ensemble size of its predictions; the run's own may have been larger."""

    @property
    def code(self) -> str:
        """The code as a user runs it."""
        return f"{self.setup}\n{self.use}\nprint(predicted)\n"


def own_rows(facts: PackageFacts, run_id: str, table: str) -> str:
    """Returns code that encodes the run's own rows; merged weights accept any others too."""
    base = f", checkpoint={facts.checkpoint!r}" if facts.checkpoint else ""
    return (
        f"# Licence of the base's weights: {facts.base.licence}\n"
        f"run = load_adapter({file_name('adapter', facts, run_id)!r}{base}, device='cpu')  # only to read and encode "
        "rows as the run did\n"
        f"table = read_table({table!r}, run.reading).frame\n"
        f"context = run.context(table)  # or fit on rows of your own: the file needs nothing of ours\n"
        f"rows = table.iloc[run.split(table).test]\n"
    )
