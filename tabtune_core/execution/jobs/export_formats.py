"""The formats that an adapter can be exported to, and the Python code that opens each. Text only; loads no torch.

In: the facts of an adapter package. Out: contents, and a snippet, which an export runs before it is offered.
"""

from dataclasses import dataclass, fields, replace
from typing import Literal

from tabtune_core.data.findings import ReadingChoices
from tabtune_core.lora.package_facts import PackageFacts
from tabtune_core.models.cards import Snippet
from tabtune_core.models.catalogue import get_card

Format = Literal["merged", "pipeline", "lora"]


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """One kind of file."""

    title: str
    inside: str
    """What it contains, for the person who may download it."""
    holds_rows: bool = False
    """Whether rows of the table are in it."""


FORMATS: dict[Format, ExportFormat] = {
    "merged": ExportFormat(
        "Merged checkpoint",
        "All weights of the model with the adapter merged in, in the format of the model's own package, which opens "
        "it without LoRA and without LoRA Lab. It contains no row of your table.",
    ),
    "pipeline": ExportFormat(
        "Pipeline file",
        "The adapter, the encoders and the run's context rows in one zip: it predicts without the table. Safetensors "
        "and JSON; opening it runs no code. The run's validation and test rows are not in it.",
        holds_rows=True,
    ),
    "lora": ExportFormat(
        "lora_adapters.pt",
        "Rank, alpha and the factors A and B of every layer as plain tensors, as many LoRA scripts expect them. It "
        "contains no row of your table.",
    ),
}


def file_name(form: str, facts: PackageFacts, run_id: str) -> str:
    """Returns the name of a download, without any text from the user; ``form`` is such as ``adapter`` or ``merged``."""
    own = {"adapter": "zip", "pipeline": "zip", "lora": "pt"}
    ending = own.get(form) or get_card(facts.base.model).family.merged_ending
    start = {"lora": "lora_adapters"}.get(form, form)
    return f"{start}-{facts.base.model}-r{facts.settings.lora.rank}-{run_id}.{ending}"


def _own_rows(facts: PackageFacts, run_id: str, table: str) -> str:
    """Returns code that encodes the run's own rows; merged weights accept any others too."""
    base = f", checkpoint={facts.checkpoint!r}" if facts.checkpoint else ""
    return (
        f"from tabtune_core import load_adapter, read_table\n\n"
        f"# Licence of the base's weights: {facts.base.licence}\n"
        f"run = load_adapter({file_name('adapter', facts, run_id)!r}{base}, device='cpu')  # only to read and encode "
        "rows as the run did\n"
        f"table = read_table({table!r}, run.reading).frame\n"
        f"context = run.context(table)  # or fit on rows of your own: the file needs nothing of ours\n"
        f"rows = table.iloc[run.split(table).test]\n"
    )


def snippet(form: Format, facts: PackageFacts, run_id: str, *, table: str) -> Snippet:
    """Returns the Python code that opens one of FORMATS and predicts the rows of ``table``, the run's file."""
    if form == "merged":
        merged = get_card(facts.base.model).family.merged_snippet(facts, file_name(form, facts, run_id))
        return replace(merged, setup=merged.setup + _own_rows(facts, run_id, table))
    base = f", checkpoint={facts.checkpoint!r}" if facts.checkpoint else ""
    predict = "predict_proba" if facts.classes else "predict"
    load = f"pipeline = TabularPipeline.load({file_name('pipeline', facts, run_id)!r}{base})"
    imports = "from tabtune_core import TabularPipeline, read_table\n"
    imports += "from tabtune_core.data.table import ReadingChoices\n"
    if form == "lora":
        file = file_name("lora", facts, run_id)
        imports = f"import torch\n{imports}"
        load = (
            f"state = torch.load({file!r}, weights_only=True)  # plain tensors: rank, alpha, lora_a, lora_b by layer\n"
            f"print(state['rank'], state['alpha'], len(state['lora_a']), 'layers')\n\n"
            f"{load}  # or another pipeline on the same base\n"
            f"pipeline.load_adapter({file!r}, 'from a file')"
        )
    read = f"rows = read_table({table!r}, {_written(facts.reading)}).frame  # or any frame with the same columns"
    setup = f"{imports}\n{load}\n{read}\n"
    use, views = f"predicted = pipeline.{predict}(rows)", facts.settings.train.views
    return Snippet(setup, use, "tabtune_core.TabularPipeline", views)


def _written(choices: ReadingChoices) -> str:
    """Writes the choices as Python code, without defaults."""
    values = ((field, getattr(choices, field.name)) for field in fields(choices))
    return f"ReadingChoices({', '.join(f'{of.name}={value!r}' for of, value in values if value != of.default)})"
