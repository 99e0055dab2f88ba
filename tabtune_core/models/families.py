"""The families of models: parts, names of parts, limits and shapes. Data only; importing it loads no torch."""

from functools import partial
from typing import Any

from tabtune_core.metrics import Task
from tabtune_core.models.cards import Family, Layers


def _tabicl_block(layers: Layers, path: str, width: int, heads: int = 0, *, factor: int, norms: bool) -> None:
    """Adds a block; with ``heads``, attention whose softmax is scaled by two small networks."""
    layers.attention(f"{path}.attn", width)
    layers.linear(f"{path}.linear1", factor * width, width)
    layers.linear(f"{path}.linear2", width, factor * width)
    for name in ("norm1", "norm2") if norms else ():
        layers.norm(f"{path}.{name}", width)
    if heads:
        for name, inputs, outputs in (("base", 1, width), ("query", width // heads, width // heads)):
            layers.linear(f"{path}.attn.ssmax_layer.{name}_mlp.0", 64, inputs)
            layers.linear(f"{path}.attn.ssmax_layer.{name}_mlp.2", outputs, 64)


def tabicl_layers(config: dict[str, Any], task: Task) -> Layers:
    """Of a TabICL module; v1 and v2 differ in how columns enter, in the scaled softmax of attention and in the biases of norms."""
    width, factor, labels = config["embed_dim"], config["ff_factor"], config["max_classes"] or 1
    deep = width * config["row_num_cls"]
    layers, norms = Layers(), not config.get("bias_free_ln", False)
    block = partial(_tabicl_block, layers, factor=factor, norms=norms)
    layers.linear("col_embedder.in_linear", width, config.get("col_feature_group_size", 1))
    for i in range(config["col_num_blocks"]):
        block(f"col_embedder.tf_col.blocks.{i}.multihead_attn1", width, config["col_nhead"] if config["col_ssmax"] else 0)
        block(f"col_embedder.tf_col.blocks.{i}.multihead_attn2", width)
    for name in ("w", "b") if config["col_affine"] else ():
        layers.linear(f"col_embedder.out_{name}", width, width)
        layers.norm(f"col_embedder.ln_{name}", width)
    if config["col_target_aware"]:
        layers.linear("col_embedder.y_encoder", width, labels)
    for i in range(config["row_num_blocks"]):
        block(f"row_interactor.tf_row.blocks.{i}", width)
    for i in range(config["icl_num_blocks"]):
        block(f"icl_predictor.tf_icl.blocks.{i}", deep, config["icl_nhead"] if config["icl_ssmax"] else 0)
    for path, d in (("row_interactor.out_ln", width), ("icl_predictor.ln", deep)) if norms else ():
        layers.norm(path, d)
    layers.linear("icl_predictor.y_encoder", deep, labels)
    layers.linear("icl_predictor.decoder.0", 2 * deep, deep)
    layers.linear("icl_predictor.decoder.2", config["max_classes"] or config["num_quantiles"], 2 * deep)
    return layers


_TABICL_GROUPS: dict[str, tuple[str, ...]] = {
    "column_embeddings": ("col_embedder",),
    "row_attention": ("row_interactor", "icl_predictor.tf_icl"),
    "prediction_head": ("icl_predictor.decoder",),
    "decoder": ("icl_predictor.decoder",),
}
TABICL = Family(
    name="TabICL", distribution="tabicl", install="pip install tabicl", layers=tabicl_layers,
    targets=("col_embedder.tf_col", "row_interactor", "icl_predictor.tf_icl", "icl_predictor.decoder"),
    groups={"classification": _TABICL_GROUPS, "regression": _TABICL_GROUPS},
    unused={"classification": (), "regression": ()}, passed_over=("ssmax_layer", "in_linear"),
    block_lists=("col_embedder.tf_col.blocks", "row_interactor.tf_row.blocks", "icl_predictor.tf_icl.blocks"),
    late_blocks="icl_predictor.tf_icl.blocks", head=("icl_predictor.decoder",),
)  # fmt: skip


def tabdpt_layers(config: dict[str, Any], task: Task) -> Layers:
    """Of a TabDPT module, everything but the label encoders of the other task."""
    size = config["model"]
    width, label_width, hidden = size["emsize"], size["y_encoder_dim"], size["ff_dim"]
    layers = Layers()
    layers.linear("encoder", width, size["max_num_features"])
    for i in range(size["nlayers"]):
        block = f"transformer_encoder.{i}"
        for name, inputs in (("q", width), ("k", width), ("v", width + label_width), ("out", width)):
            layers.linear(f"{block}.{name}_proj", width, inputs, bias=False)
        layers.linear(f"{block}.q_gate", size["nhead"], width, bias=False)
        layers.linear(f"{block}.ff.up", 2 * hidden, width, bias=False)
        layers.linear(f"{block}.ff.down", width, hidden, bias=False)
        for name in ("attn_norm", "ff_norm"):
            layers.norm(f"{block}.{name}", width)
        if task == "classification":
            layers.linear(f"cls_y_encoders.{i}", label_width, size["max_num_classes"], bias=False)
        else:
            layers.linear(f"reg_y_encoders.{i}.0", label_width, 1)
            layers.linear(f"reg_y_encoders.{i}.2", label_width, label_width)
    layers.linear("head.0", hidden, width)
    layers.linear("head.2", size["max_num_classes"] + size["regression_bin_count"], hidden)
    return layers


_TABDPT_GROUPS: dict[str, tuple[str, ...]] = {
    "column_embeddings": ("encoder",),
    "row_attention": ("transformer_encoder",),
    "prediction_head": ("head",),
}
TABDPT = Family(
    name="TabDPT", distribution="tabdpt", install="pip install tabdpt", layers=tabdpt_layers,
    targets=("transformer_encoder", "encoder", "y_encoder", "head"),
    groups={  # one label encoder for both tasks until TabDPT 1.2: the guide's y_encoder
        "classification": {**_TABDPT_GROUPS, "y_encoder": ("cls_y_encoders",)},
        "regression": {**_TABDPT_GROUPS, "y_encoder": ("reg_y_encoders",)},
    },
    unused={"classification": ("reg_y_encoders",), "regression": ("cls_y_encoders",)},
    passed_over=("q_gate", "reg_y_encoders.*.0"), block_lists=("transformer_encoder",),
    late_blocks="transformer_encoder", head=("head",),
)  # fmt: skip


def mitra_layers(config: dict[str, Any], task: Task) -> Layers:
    """Of a ``Tab2D`` module. Labels are looked up in a table with a row an output, or go through a linear layer where that is one."""
    width, outputs = config["dim"], config["dim_output"]
    layers = Layers()
    layers.linear("x_embedding.x_embedding", width, 1)
    layers.linear("y_embedding.y_embedding", width, outputs, bias=outputs == 1)
    layers.linear("y_embedding.y_mask", width, 1, bias=False)
    for i in range(config["n_layers"]):
        block = f"layers.{i}"
        for half, (up, down) in enumerate((("linear1", "linear2"), ("linear3", "linear4")), start=1):
            for part in "qkvo":
                layers.linear(f"{block}.attention{half}.{part}", width, width)
            layers.linear(f"{block}.{up}", 4 * width, width)
            layers.linear(f"{block}.{down}", width, 4 * width)
        for number in range(1, 5):
            layers.norm(f"{block}.layer_norm{number}", width)
    layers.norm("final_layer_norm", width)
    layers.linear("final_layer", outputs, width)
    return layers


_MITRA_GROUPS: dict[str, tuple[str, ...]] = {
    "column_embeddings": ("x_embedding",),
    "row_attention": ("layers",),
    "prediction_head": ("final_layer",),
}
MITRA = Family(
    name="Mitra", distribution="autogluon.tabular", install="pip install 'tabtune-dashboard[mitra]'", layers=mitra_layers,
    targets=("x_embedding", "layers", "final_layer"),
    groups={"classification": _MITRA_GROUPS, "regression": _MITRA_GROUPS},
    unused={"classification": (), "regression": ()}, passed_over=("y_mask",), block_lists=(),
    late_blocks="layers", head=("final_layer",), class_limit=10, feature_limit=500, context_limit=10_000,
)  # fmt: skip
"""Limits are AutoGluon's. ``x_embedding`` (1 to d) takes rank 1, which is one number more than its weight; the guide names it."""
