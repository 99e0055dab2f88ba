"""The families of models: parts, names of parts, limits and shapes. Data only; importing it loads no torch."""

from typing import Any

from tabtune_core.metrics import Task
from tabtune_core.models.cards import Family, Shapes


def tabicl_shapes(config: dict[str, Any], task: Task) -> Shapes:
    """Of a TabICL module, feed-forward and attention layers of all stages and the decoder; small layers are left out."""
    width, factor = config["embed_dim"], config["ff_factor"]
    deep = width * config["row_num_cls"]
    shapes: Shapes = {}

    def block(path: str, d: int) -> None:
        shapes[f"{path}.attn.in_proj_weight"] = (3 * d, d)
        shapes[f"{path}.attn.out_proj.weight"] = (d, d)
        shapes[f"{path}.linear1.weight"] = (factor * d, d)
        shapes[f"{path}.linear2.weight"] = (d, factor * d)

    for i in range(config["col_num_blocks"]):
        for part in (1, 2):
            block(f"col_embedder.tf_col.blocks.{i}.multihead_attn{part}", width)
    for i in range(config["row_num_blocks"]):
        block(f"row_interactor.tf_row.blocks.{i}", width)
    for i in range(config["icl_num_blocks"]):
        block(f"icl_predictor.tf_icl.blocks.{i}", deep)
    shapes["icl_predictor.decoder.0.weight"] = (2 * deep, deep)
    shapes["icl_predictor.decoder.2.weight"] = (config["max_classes"] or config["num_quantiles"], 2 * deep)
    return shapes


_TABICL_GROUPS: dict[str, tuple[str, ...]] = {
    "column_embeddings": ("col_embedder",),
    "row_attention": ("row_interactor", "icl_predictor.tf_icl"),
    "prediction_head": ("icl_predictor.decoder",),
    "decoder": ("icl_predictor.decoder",),
}
TABICL = Family(
    name="TabICL", distribution="tabicl", install="pip install tabicl", shapes=tabicl_shapes,
    targets=("col_embedder.tf_col", "row_interactor", "icl_predictor.tf_icl", "icl_predictor.decoder"),
    groups={"classification": _TABICL_GROUPS, "regression": _TABICL_GROUPS},
    unused={"classification": (), "regression": ()}, passed_over=("ssmax_layer", "in_linear"),
    block_lists=("col_embedder.tf_col.blocks", "row_interactor.tf_row.blocks", "icl_predictor.tf_icl.blocks"),
    stages=("col_embedder", "row_interactor"),
)  # fmt: skip


def tabdpt_shapes(config: dict[str, Any], task: Task) -> Shapes:
    """Of a TabDPT module, everything but the label encoders of the other task; small layers are left out."""
    size = config["model"]
    width, label_width, hidden = size["emsize"], size["y_encoder_dim"], size["ff_dim"]
    shapes: Shapes = {"encoder.weight": (width, size["max_num_features"])}
    for i in range(size["nlayers"]):
        block = f"transformer_encoder.{i}"
        shapes |= {f"{block}.{name}_proj.weight": (width, width) for name in ("q", "k", "out")}
        shapes[f"{block}.v_proj.weight"] = (width, width + label_width)
        shapes[f"{block}.ff.up.weight"] = (2 * hidden, width)
        shapes[f"{block}.ff.down.weight"] = (width, hidden)
        if task == "classification":
            shapes[f"cls_y_encoders.{i}.weight"] = (label_width, size["max_num_classes"])
        else:
            shapes[f"reg_y_encoders.{i}.2.weight"] = (label_width, label_width)
    shapes["head.0.weight"] = (hidden, width)
    shapes["head.2.weight"] = (size["max_num_classes"] + size["regression_bin_count"], hidden)
    return shapes


_TABDPT_GROUPS: dict[str, tuple[str, ...]] = {
    "column_embeddings": ("encoder",),
    "row_attention": ("transformer_encoder",),
    "prediction_head": ("head",),
}
TABDPT = Family(
    name="TabDPT", distribution="tabdpt", install="pip install tabdpt", shapes=tabdpt_shapes,
    targets=("transformer_encoder", "encoder", "y_encoder", "head"),
    groups={  # one label encoder for both tasks until TabDPT 1.2: the guide's y_encoder
        "classification": {**_TABDPT_GROUPS, "y_encoder": ("cls_y_encoders",)},
        "regression": {**_TABDPT_GROUPS, "y_encoder": ("reg_y_encoders",)},
    },
    unused={"classification": ("reg_y_encoders",), "regression": ("cls_y_encoders",)},
    passed_over=("q_gate", "reg_y_encoders.*.0"), block_lists=("transformer_encoder",),
)  # fmt: skip


def mitra_shapes(config: dict[str, Any], task: Task) -> Shapes:
    """Of a ``Tab2D`` module. Labels are looked up in a table with a row an output, or go through a linear layer where that is one."""
    width, outputs = config["dim"], config["dim_output"]
    shapes: Shapes = {f"{side}_embedding.{side}_embedding.weight": (width, inputs) for side, inputs in (("x", 1), ("y", outputs))}
    shapes["final_layer.weight"] = (outputs, width)
    for i in range(config["n_layers"]):
        for half, (up, down) in enumerate((("linear1", "linear2"), ("linear3", "linear4")), start=1):
            shapes |= {f"layers.{i}.attention{half}.{part}.weight": (width, width) for part in "qkvo"}
            shapes[f"layers.{i}.{up}.weight"] = (4 * width, width)
            shapes[f"layers.{i}.{down}.weight"] = (width, 4 * width)
    return shapes


_MITRA_GROUPS: dict[str, tuple[str, ...]] = {
    "column_embeddings": ("x_embedding",),
    "row_attention": ("layers",),
    "prediction_head": ("final_layer",),
}
MITRA = Family(
    name="Mitra", distribution="autogluon.tabular", install="pip install 'tabtune-dashboard[mitra]'", shapes=mitra_shapes,
    targets=("x_embedding", "layers", "final_layer"),
    groups={"classification": _MITRA_GROUPS, "regression": _MITRA_GROUPS},
    unused={"classification": (), "regression": ()}, passed_over=("y_mask",), block_lists=(),
    class_limit=10, feature_limit=500, context_limit=10_000,
)  # fmt: skip
"""Limits are AutoGluon's. ``x_embedding`` (1 to d) takes rank 1, which is one number more than its weight; the guide names it."""
