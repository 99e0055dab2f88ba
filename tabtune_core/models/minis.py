"""Architectures of the minis that ship with the package, as the upstream classes take them. Data only; importing it loads no torch."""

from typing import Any

TABDPT_MINI: dict[str, Any] = {
    "env": {"device": "cpu"},
    "training": {"dropout": 0.0},
    "model": dict(
        enc_cell_dim=-1, max_num_classes=10, regression_bin_count=128, regression_bin_min=-8, regression_bin_max=8, nhead=4,
        ff_dim=96, emsize=96, nlayers=8, max_num_features=48, min_eval_context=64, max_eval_context=1_048_576, y_encoder_dim=32,
        num_col_attn_layers=2, n_thinking_rows=8,
    ),
}  # fmt: skip
"""The ``cfg`` in the metadata of a TabDPT 1.3 file."""
MITRA_MINI_CLASSIFIER: dict[str, Any] = {"dim": 48, "dim_output": 10, "n_layers": 4, "n_heads": 4, "task": "CLASSIFICATION"}
MITRA_MINI_REGRESSOR: dict[str, Any] = {**MITRA_MINI_CLASSIFIER, "dim_output": 1, "task": "REGRESSION"}
"""A scalar on the min-max scale, as Mitra v1: AutoGluon predicts the mode of value bins, not their mean."""
