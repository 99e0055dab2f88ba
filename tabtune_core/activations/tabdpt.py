"""TabDPT: a row is one token; in-context attention over rows, with the labels in the values and thinking rows before the context.

As ``tabdpt`` 1.3 computes it (``model.py``).
Shape letters: T rows (thinking, context, query), C of them shown (thinking, context), Q query rows, D width, O outputs.
"""

from typing import Any

from tabtune_core.activations.tape import Tape


def forward(tape: Tape, config: dict[str, Any], *, context: int, query: int, features: int, regression: bool) -> None:
    """Tells the tape of one training step."""
    size = config["model"]
    width, labels, hidden, heads = size["emsize"], size["y_encoder_dim"], size["ff_dim"], size["nhead"]
    shown = size["n_thinking_rows"] + context
    rows = shown + query
    with tape.block(0):
        read = size["max_num_features"]
        tape.linear("encoder.weight", {"features": context + query}, (width, read))
        tape.keep("encoded", (context + query) * width, wide=True)  # of the norm, which has no weights
    for i in range(size["nlayers"]):
        path, encoder = f"transformer_encoder.{i}", f"reg_y_encoders.{i}.2.weight" if regression else f"cls_y_encoders.{i}.weight"
        with tape.block(rows * width):
            if regression:
                tape.linear(encoder, {"labels": context}, (labels, labels))
                tape.keep("encoded labels", context * labels * 2)
            elif encoder in tape.trained.ranks:
                tape.live = True
            tape.keep("statistics", 2 * rows, wide=True)
            tape.linear(f"{path}.q_proj.weight", {"normal": rows}, (width, width))
            tape.keep("q", 2 * rows * width)  # as it is, for its norm and gate, and as attention reads it
            tape.keep("gate", 2 * rows * heads)
            tape.linear(f"{path}.k_proj.weight", {"normal shown" if tape.trained.dropout else "normal": shown}, (width, width))
            tape.keep("k", 2 * shown * width)
            tape.linear(f"{path}.v_proj.weight", {"normal and labels": shown}, (width, width + labels))
            tape.keep("v", shown * width)
            if tape.trained.everything:
                tape.keep("before the weights of the norms", (rows + shown) * width)
            tape.keep("answer", rows * (width + 3 * heads))
            tape.linear(f"{path}.out_proj.weight", {"gated": rows}, (width, width))
            tape.norm("sum", rows, width)
            tape.linear(f"{path}.ff.up.weight", {"normal sum": rows}, (2 * hidden, width))
            tape.keep("up, silu", 3 * rows * hidden)
            tape.linear(f"{path}.ff.down.weight", {"product": rows}, (width, hidden))
    with tape.block(rows * width):
        outputs = size["max_num_classes"] + size["regression_bin_count"]
        tape.linear("head.0.weight", {"input": query}, (hidden, width))
        tape.keep("hidden", query * hidden)
        tape.linear("head.2.weight", {"active": query}, (outputs, hidden))
        tape.keep("outputs", query * outputs * (4 if regression else 1), wide=True)
