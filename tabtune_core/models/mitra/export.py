"""A merged Mitra checkpoint: its file, and the Python that opens it. Text only; loads no torch."""

from tabtune_core.lora.package_facts import PackageFacts
from tabtune_core.models.snippets import Snippet, file_name, own_rows

ENDING = "zip"
"""The zip contains the folder that upstream reads."""


def snippet(facts: PackageFacts, run_id: str, table: str) -> Snippet:
    """Writes code that predicts with Mitra's own class in fp32; AutoGluon's estimators use bfloat16."""
    file, task = file_name("merged", facts, run_id), facts.settings.task
    folder, kind = file.removesuffix(".zip"), "MitraClassifier" if facts.classes else "MitraRegressor"
    setup = (
        f"import zipfile\nimport torch\nfrom tabtune_core import load_adapter, read_table\n"
        f"from tabtune_core.models.base import load_model\nfrom tabtune_core.models.catalogue import get_card\n"
        f"from tabtune_core.engine.adapted_model import predict_rows\n\n{own_rows(facts, run_id, table)}"
    )
    use = (
        f"zipfile.ZipFile({file!r}).extractall({folder!r})\n"
        f"# AutoGluon opens the folder too, and computes in bfloat16: {kind}(hf_model={folder!r}, fine_tune=False)\n"
        f"card, cpu = get_card({facts.base.model!r}), torch.device('cpu')\n"
        f"model = load_model(card, {task!r}, cpu, {folder!r})\n"
        f"predicted = predict_rows(model, rows, context, views={facts.settings.train.views})"
    )
    return Snippet(setup, use, "Mitra's Tab2D class, as AutoGluon ships it", facts.settings.train.views)
