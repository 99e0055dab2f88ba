"""A merged TabICL checkpoint: its file, and the Python that opens it. Text only; loads no torch."""

from tabtune_core.lora.package_facts import PackageFacts
from tabtune_core.models.snippets import Snippet, file_name, own_rows

ENDING = "ckpt"


def snippet(facts: PackageFacts, run_id: str, table: str) -> Snippet:
    """Writes code that predicts with the upstream package's own estimator."""
    kind, classes = ("TabICLClassifier", ", class_shuffle_method='none'") if facts.classes else ("TabICLRegressor", "")
    setup = (
        f"from tabicl import {kind}\nfrom tabtune_core import load_adapter, "
        f"read_table\n\n{own_rows(facts, run_id, table)}"
    )
    use = (
        f"model = {kind}(\n"
        f"    model_path={file_name('merged', facts, run_id)!r}, allow_auto_download=False, device='cpu',\n"
        f"    n_estimators=1, norm_methods='none', feat_shuffle_method='none'{classes},  # one member, as the run "
        "predicts\n"
        f")\n"
        f"model.fit(context.x_CF, context.y_C)\n"
        f"predicted = model.{'predict_proba' if facts.classes else 'predict'}(context.encoder.transform(rows))"
    )
    return Snippet(setup, use, f"tabicl.{kind}", 1)
