"""A merged TabDPT checkpoint: its file, and the Python that opens it. Text only; loads no torch."""

from tabtune_core.lora.package_facts import PackageFacts
from tabtune_core.models.snippets import Snippet, file_name, own_rows

ENDING = "safetensors"


def snippet(facts: PackageFacts, run_id: str, table: str) -> Snippet:
    """Writes code that predicts with the upstream package's own estimator."""
    kind = "TabDPTClassifier" if facts.classes else "TabDPTRegressor"
    setup = (
        f"import torch\nfrom tabdpt import {kind}\nfrom tabtune_core import load_adapter, "
        f"read_table\n\n{own_rows(facts, run_id, table)}"
    )
    predict = "predict_proba({})" if facts.classes else "predict({}, n_ensembles=1)"
    use = (
        f"model = {kind}(\n"
        f"    model_weight_path={file_name('merged', facts, run_id)!r}, device='cpu', use_flash=False, "
        "compile=False, verbose=False\n"
        f")\n"
        f"torch.manual_seed(0)  # its PCA, which wide tables need, starts from the global generator\n"
        f"model.fit(context.x_CF, context.y_C)\n"
        f"predicted = model.{predict.format('context.encoder.transform(rows)')}"
    )
    return Snippet(setup, use, f"tabdpt.{kind}", 1)
