"""TabDPT: its layers, module groups, limits and checkpoints. Data only; importing it loads no torch."""

from typing import Any

from tabtune_core.lora.package_facts import PackageFacts
from tabtune_core.metrics import Task
from tabtune_core.models.cards import Family, Layers, ModelCard, Snippet, Weights
from tabtune_core.settings import Strategy
from tabtune_core.upstream import APACHE_2, Upstream


def tabdpt_layers(config: dict[str, Any], task: Task) -> Layers:
    """Returns the layers of a TabDPT module, without the label encoders of the other task."""
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


def tabdpt_merged(facts: PackageFacts, file: str) -> Snippet:
    """Writes code that predicts with the upstream package's own estimator."""
    kind = "TabDPTClassifier" if facts.classes else "TabDPTRegressor"
    predict = "predict_proba({})" if facts.classes else "predict({}, n_ensembles=1)"
    use = (
        f"model = {kind}(\n"
        f"    model_weight_path={file!r}, device='cpu', use_flash=False, compile=False, verbose=False\n"
        f")\n"
        f"torch.manual_seed(0)  # its PCA, which wide tables need, starts from the global generator\n"
        f"model.fit(context.x_CF, context.y_C)\n"
        f"predicted = model.{predict.format('context.encoder.transform(rows)')}"
    )
    return Snippet(f"import torch\nfrom tabdpt import {kind}\n", use, f"tabdpt.{kind}")


UPSTREAM = Upstream(
    distribution="tabdpt",
    tested=("1.3",),
    names={
        "tabdpt.model:TabDPTModel": "the class of the module, its submodules, sizes and state dict",
        "tabdpt.model:TabDPTModel.load": "a module from the configuration in a checkpoint",
        "tabdpt.model:TransformerEncoderLayer": "a stage, which returns the change of its input",
        "tabdpt.model:TransformerEncoderLayer.get_scale_param": "the attention's scale, from three numbers",
    },
)
"""The names that we use of its package."""

FAMILY = Family(
    folder="tabdpt",
    name="TabDPT",
    upstream=UPSTREAM,
    install="pip install tabdpt",
    layers=tabdpt_layers,
    merged_ending="safetensors",
    merged_snippet=tabdpt_merged,
    targets=("transformer_encoder", "encoder", "y_encoder", "head"),
    groups={
        "column_embeddings": ("encoder",),
        "row_attention": ("transformer_encoder",),
        "prediction_head": ("head",),
        "y_encoder": ("cls_y_encoders", "reg_y_encoders"),  # the guide's name, of TabDPT 1.2
    },
    unused={"classification": ("reg_y_encoders",), "regression": ("cls_y_encoders",)},
    passed_over=("q_gate", "reg_y_encoders.*.0"),
    block_lists=("transformer_encoder",),
    late_blocks="transformer_encoder",
    head=("head",),
    added_to_spread=0.0,
)

TABDPT_MINI: dict[str, Any] = {
    "env": {"device": "cpu"},
    "training": {"dropout": 0.0},
    "model": {
        **dict(enc_cell_dim=-1, max_num_classes=10, max_num_features=48, num_col_attn_layers=2, n_thinking_rows=8),
        **dict(regression_bin_count=128, regression_bin_min=-8, regression_bin_max=8),
        **dict(nhead=4, ff_dim=96, emsize=96, nlayers=8, y_encoder_dim=32),
        **dict(min_eval_context=64, max_eval_context=1_048_576),
    },
}
"""The ``cfg`` in the metadata of a TabDPT 1.3 file."""
_TABDPT: dict[str, Any] = {
    **TABDPT_MINI,
    "model": {
        **TABDPT_MINI["model"],
        **dict(max_num_classes=16, max_num_features=128, n_thinking_rows=64),
        **dict(regression_bin_count=2048, regression_bin_min=-10, regression_bin_max=10),
        **dict(nhead=8, ff_dim=512, emsize=512, nlayers=32, y_encoder_dim=128),
    },
}


def _tabdpt(
    name: str, title: str, note: str, weights: Weights, rates: dict[Strategy, float] | None = None
) -> ModelCard:
    both: dict[Task, Weights] = {"classification": weights, "regression": weights}
    measured: dict[Task, dict[Strategy, float]] = {task: rates or {} for task in both}
    return ModelCard(name=name, title=title, family=FAMILY, licence=APACHE_2, note=note, weights=both, rates=measured)


CARDS = (
    _tabdpt(
        "tabdpt-mini",
        "TabDPT mini",
        "Pre-trained by us on synthetic tables, for classes and numbers; ships with the package.",
        Weights(
            file="tabdpt-mini.safetensors",
            repository=None,
            total_parameters=586_890,
            config=TABDPT_MINI,
            sha256="551680c60b0291e405a7e8c879835a1dcc45b521262cb44f6b0d713e087715c0",
        ),
        rates={"peft": 1e-3, "base-ft": 1e-4},
    ),
    _tabdpt(
        "tabdpt-1.3",
        "TabDPT 1.3",
        "The current release; one file for classes and numbers.",
        Weights(file="tabdpt1_3.safetensors", repository="Layer6/TabDPT", total_parameters=63_040_528, config=_TABDPT),
    ),
)
