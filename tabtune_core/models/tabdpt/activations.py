"""TabDPT 1.3 (``model.py``): a row is one token, labels are in the values, thinking rows come before the context.

Shape letters: T rows (thinking, context, query), C of them shown (thinking, context), Q query rows, D width, O outputs.
"""

from typing import Any

from tabtune_core.models.activation_tape import NUMBER_BYTES, Tape


def training(tape: Tape, config: dict[str, Any], *, context: int, query: int, features: int, classes: int) -> None:
    """Records one training step; more classes than outputs take one pass per digit of the class id."""
    passes, reach = 1, config["model"]["max_num_classes"]
    while reach < classes:
        passes, reach = passes + 1, reach * config["model"]["max_num_classes"]
    for _ in range(passes):
        _forward(tape, config["model"], context=context, query=query, regression=not classes)


def predicting(config: dict[str, Any], *, context: int, query: int, features: int) -> float:
    """Estimates the peak bytes of a prediction: in a feed-forward part, five tensors of a row and four hidden ones."""
    size = config["model"]
    rows = size["n_thinking_rows"] + context + query
    cells = (context + query) * size["max_num_features"]
    features_read = 5 * cells  # clipped, normalised and clipped again, with masks
    outputs = 4 * query * (size["max_num_classes"] + size["regression_bin_count"])
    return float(NUMBER_BYTES * max(rows * (5 * size["emsize"] + 4 * size["ff_dim"]), features_read, outputs))


def attention(config: dict[str, Any], *, features: int) -> int:
    """Returns the operations per pair of context rows in a prediction."""
    return int(4 * config["model"]["nlayers"] * config["model"]["emsize"])


def _forward(tape: Tape, size: dict[str, Any], *, context: int, query: int, regression: bool) -> None:
    width, labels, hidden, heads = size["emsize"], size["y_encoder_dim"], size["ff_dim"], size["nhead"]
    key_rows = size["n_thinking_rows"] + context
    rows = key_rows + query
    with tape.block(0):
        read = size["max_num_features"]
        tape.linear("encoder", {"features": context + query}, (width, read))
        tape.keep("encoded", (context + query) * width, wide=True)  # of the norm, which has no weights
    for i in range(size["nlayers"]):
        path, encoder = f"transformer_encoder.{i}", f"reg_y_encoders.{i}.2" if regression else f"cls_y_encoders.{i}"
        with tape.block(rows * width):
            if regression:
                tape.linear(encoder, {"labels": context}, (labels, labels))
                tape.keep("encoded labels", context * labels * 2)
            elif encoder in tape.trained.ranks:
                tape.live = True
            tape.keep("statistics", 2 * rows, wide=True)
            tape.linear(f"{path}.q_proj", {"normal": rows}, (width, width))
            tape.keep("q", 2 * rows * width)  # once for its norm and gate, once as attention reads it
            tape.keep("gate", 2 * rows * heads)
            copied = tape.trained.dropout and tape.trained.variant == "dora"
            tape.linear(f"{path}.k_proj", {"normal shown" if copied else "normal": key_rows}, (width, width))
            tape.keep("k", 2 * key_rows * width)
            tape.linear(f"{path}.v_proj", {"normal and labels": key_rows}, (width, width + labels))
            tape.keep("v", key_rows * width)
            if tape.trained.everything:
                tape.keep("before the weights of the norms", (rows + key_rows) * width)
            tape.keep("answer", rows * (width + 3 * heads))
            tape.linear(f"{path}.out_proj", {"gated": rows}, (width, width))
            tape.norm("sum", rows, width)
            tape.linear(f"{path}.ff.up", {"normal sum": rows}, (2 * hidden, width))
            tape.keep("up, silu", 3 * rows * hidden)
            tape.linear(f"{path}.ff.down", {"product": rows}, (width, hidden))
            tape.passing(4 * rows * (width + hidden))  # of the block's output, and around the gate
    with tape.block(rows * width):
        outputs = size["max_num_classes"] + size["regression_bin_count"]
        tape.linear("head.0", {"input": query}, (hidden, width))
        tape.keep("hidden", query * hidden)
        tape.linear("head.2", {"active": query}, (outputs, hidden))
        tape.keep("outputs", query * outputs * (4 if regression else 1), wide=True)
