"""The widgets of what most people leave alone: more of the adapter, the optimizer, memory, the best state, rows and weights."""

import streamlit as st

from dashboard.server.access import may_type_paths
from dashboard.views.new_run.form_widgets import choice_field, number_field, switch_field, text_field
from dashboard.views.new_run.forms import DEFAULTS
from tabtune_core.metrics import METRICS, SELECTION, Task, metrics_of
from tabtune_core.settings import LoraSettings, RunSettings, TrainSettings, describe

FIELDS = (
    *("bias", "init_lora_weights", "lr_ratio", "use_rslora", "rate_scales_with_rank", "use_dora", "rank_pattern", "alpha_pattern"),
    *("optimizer", "class_weights", "weight_decay", "clip_norm", "schedule", "warmup_ratio", "warmup_steps", "beta_1", "beta_2", "eps"),
    *("amp", "views", "time_limit", "episode_set", "gradient_checkpointing", "cuda_graph"),
    *("selection_metric", "eval_every", "patience"),
    *("validation_share", "test_share", "validation_rows", "test_rows", "split_seed", "test_rows_move", "checkpoint"),
)
"""Keys of the widgets below."""


def holds_a_choice(task: Task) -> bool:
    """Whether one of the widgets below has another value than its default. Then they are drawn: what is not drawn has its default."""
    usual = {**DEFAULTS, "selection_metric": SELECTION[task]}
    return any(name in st.query_params or st.session_state.get(name, usual[name]) != usual[name] for name in FIELDS)


def advanced_widgets(task: Task) -> None:
    """What most people leave alone."""
    adapter, optimizer, memory, choosing, rows = st.tabs(["Adapter", "Optimizer", "Memory and time", "Best checkpoint", "Rows, weights"])
    with adapter:
        _adapter_widgets()
    with optimizer:
        _optimizer_widgets(task)
    with memory:
        with st.grid(min_column_width=180):
            choice_field("Mixed precision, 16-bit (CUDA GPU only)", "amp", TrainSettings)
            number_field("Ensemble size", "views", TrainSettings, low=1)
            number_field("Time limit of a run (s)", "time_limit", TrainSettings, low=0, step=60, placeholder="none")
            number_field("Distinct episodes (0: a new one each step)", "episode_set", TrainSettings, low=0)
        switch_field("Gradient checkpointing (recompute activations)", "gradient_checkpointing", TrainSettings)
        switch_field("Capture the training step (CUDA graph)", "cuda_graph", TrainSettings)
    with choosing:
        metrics = metrics_of(task)
        if st.session_state.get("selection_metric", metrics[0]) not in metrics:  # of another task
            st.session_state["selection_metric"] = SELECTION[task]
        st.selectbox(
            "Selection metric",
            metrics,
            metrics.index(SELECTION[task]),
            key="selection_metric",
            format_func=lambda name: METRICS[name].label,
            help=describe(TrainSettings, "selection_metric"),
            bind="query-params",
        )
        with st.grid(min_column_width=180):
            number_field("Steps between evaluations", "eval_every", TrainSettings, low=1, placeholder="by the rows")
            number_field("Patience (0: never stop)", "patience", TrainSettings, low=0, placeholder="8 or fewer")
    with rows:
        with st.grid(min_column_width=180):
            number_field("Validation rows (share)", "validation_share", RunSettings, low=0.05, high=0.5, step=0.05)
            number_field("Test rows (share)", "test_share", RunSettings, low=0.05, high=0.5, step=0.05)
            number_field("Maximum validation rows", "validation_rows", TrainSettings, low=10, step=500)
            number_field("Maximum test rows", "test_rows", TrainSettings, low=10, step=1000)
            if not st.session_state.get("test_rows_move", False):
                number_field("Seed of the test rows", "split_seed", RunSettings, low=0)
        switch_field("Let the seeds move the test rows", "test_rows_move", RunSettings)
        shut = not may_type_paths()
        hint = "Not allowed on this server" if shut else "Path on this machine"
        text_field("Weights file instead of the model's own", "checkpoint", RunSettings, placeholder=hint, disabled=shut)


def _adapter_widgets() -> None:
    with st.grid(min_column_width=180):
        choice_field("Biases that train", "bias", LoraSettings)
        choice_field("Start of A and B", "init_lora_weights", LoraSettings)
        number_field("Rate of B against A (LoRA+)", "lr_ratio", TrainSettings, low=0)
    switch_field("Scale by alpha / root of the rank (rsLoRA)", "use_rslora", LoraSettings)
    switch_field("Scale the rate with the rank", "rate_scales_with_rank", TrainSettings)
    switch_field("Train lengths beside directions (DoRA)", "use_dora", LoraSettings)
    with st.grid(min_column_width=240):
        for label, name, shown in (("Other ranks", "rank_pattern", "decoder = 4"), ("Other alphas", "alpha_pattern", "decoder = 8")):
            st.text_area(
                label,
                DEFAULTS[name],
                key=name,
                height=90,
                help=describe(LoraSettings, name),
                placeholder=f"{shown}\none per line",
                bind="query-params",
            )


def _optimizer_widgets(task: Task) -> None:
    with st.grid(min_column_width=180):
        choice_field("Optimizer", "optimizer", TrainSettings)
        if task == "classification":
            choice_field("Class weights of the loss", "class_weights", TrainSettings)
        number_field("Weight decay", "weight_decay", TrainSettings, low=0, high=1, step=0.01)
        number_field("Gradient clipping (0: none)", "clip_norm", TrainSettings, low=0, step=0.1)
        choice_field("Schedule after the warm-up", "schedule", TrainSettings)
        number_field("Warm-up (share of steps)", "warmup_ratio", TrainSettings, low=0, high=1, step=0.05)
        number_field("Warm-up (steps)", "warmup_steps", TrainSettings, low=0, step=10, placeholder="from the share")
        if st.session_state.optimizer != "sgd":
            number_field("Beta 1", "beta_1", TrainSettings, low=0, high=1, step=0.01, help=describe(TrainSettings, "betas"))
            number_field("Beta 2", "beta_2", TrainSettings, low=0, high=1, step=0.001, help=describe(TrainSettings, "betas"))
            number_field("Epsilon", "eps", TrainSettings, low=0, high=1, step=1e-8, format="%.0e")
