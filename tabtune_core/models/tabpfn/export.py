"""A merged TabPFN checkpoint: its file, and the Python that opens it. Text only; loads no torch."""

from tabtune_core.lora.package_facts import PackageFacts
from tabtune_core.models.snippets import Snippet, file_name, own_rows

ENDING = "ckpt"
PLAIN = """{
    'PREPROCESS_TRANSFORMS': [PreprocessorConfig('none', categorical_name='numeric')], 'REGRESSION_Y_PREPROCESS_TRANSFORMS': (None,),
    'FINGERPRINT_FEATURE': False, 'FEATURE_SHIFT_METHOD': None, 'CLASS_SHIFT_METHOD': None,
}"""  # noqa: E501
"""Settings of upstream's estimators with which an ensemble member preprocesses the table as a run does."""


def snippet(facts: PackageFacts, run_id: str, table: str) -> Snippet:
    """Writes code that predicts with the upstream package's own estimator."""
    kind, predict = ("TabPFNClassifier", "predict_proba") if facts.classes else ("TabPFNRegressor", "predict")
    setup = (
        f"from tabpfn import {kind}\nfrom tabpfn.preprocessing import PreprocessorConfig\n"
        f"from tabtune_core import load_adapter, read_table\n\n{own_rows(facts, run_id, table)}"
    )
    use = (
        f"plain = {PLAIN}  # one member, as the run predicts\n"
        f"model = {kind}(\n"
        f"    model_path={file_name('merged', facts, run_id)!r}, device='cpu', n_estimators=1, "
        "inference_config=plain,\n"
        f"    ignore_pretraining_limits=True, inference_precision=torch.float32,\n"
        f")\n"
        f"model.fit(context.x_CF, context.y_C)\n"
        f"predicted = model.{predict}(context.encoder.transform(rows))"
    )
    return Snippet(f"import torch\n{setup}", use, f"tabpfn.{kind}", 1)
