"""TabICL 2.2: columns through induced attention, rows through attention over columns, then over rows in context.

Shape letters: T rows (context, then query), C context rows, Q query rows, H columns with the reserved ones, E width of
a cell, D of a row.
"""

from functools import partial
from typing import Any

from tabtune_core.models.activation_tape import NUMBER_BYTES, Tape

SSMAX_HIDDEN = 64
"""Width inside the small network that scales the queries (``QASSMaxMLP``)."""


def training(tape: Tape, config: dict[str, Any], *, context: int, query: int, features: int, classes: int) -> None:
    """Records one training step; an episode never has more classes than the model has outputs."""
    width, reserved = config["embed_dim"], config["row_num_cls"]
    deep, rows = width * reserved, context + query
    columns, attend = features + reserved, partial(_attend, tape, config["ff_factor"])
    group = config.get("col_feature_group_size", 3) if config["col_feature_group"] else 1
    # without the reserved columns and the answers for context rows: see lean_forward.py
    with tape.block(features * rows * group):
        if config["col_target_aware"]:
            tape.keep("labels", features * context * max(1, config["max_classes"]), wide=True)
    for i in range(config["col_num_blocks"]):
        with tape.block(features * rows * width):
            path, points = f"col_embedder.tf_col.blocks.{i}.multihead_attn", config["col_num_inds"]
            size = width, config["col_nhead"]
            attend(f"{path}1", features, points, context, *size, once=True, ssmax=config["col_ssmax"])
            tape.keep("points", features * points * width, wide=True)
            attend(f"{path}2", features, rows, points, *size)
    if config["col_affine"]:
        with tape.block(0):
            tape.keep("weights and biases", 4 * features * rows * width, wide=True)
    blocks = config["row_num_blocks"]
    for i in range(blocks):
        with tape.block(columns * rows * width):
            path, last = f"row_interactor.tf_row.blocks.{i}", i == blocks - 1
            asking = reserved if last else columns
            attend(path, rows, asking, columns, width, config["row_nhead"], own=not last, rope=True)
            tape.passing(6 * columns * rows * width)  # of the input and the block's output, and around GELU
    blocks = config["icl_num_blocks"]
    for i in range(blocks):
        with tape.block(rows * deep):
            path, last = f"icl_predictor.tf_icl.blocks.{i}", i == blocks - 1
            asking, heads = query if last else rows, config["icl_nhead"]
            attend(path, 1, asking, context, deep, heads, own=not last, ssmax=config["icl_ssmax"])
    with tape.block(query * deep):
        tape.keep("statistics", 2 * query, wide=True)
        head = "icl_predictor.decoder"
        tape.linear(f"{head}.0", {"normal": query}, (2 * deep, deep))
        tape.keep("hidden", query * 2 * deep)
        outputs = config["max_classes"] or config["num_quantiles"]
        tape.linear(f"{head}.2", {"active": query}, (outputs, 2 * deep))
        tape.keep("outputs", rows * outputs + (2 if config["max_classes"] else 4) * query * outputs, wide=True)


def predicting(config: dict[str, Any], *, context: int, query: int, features: int) -> float:
    """Estimates the peak bytes of a prediction: ten numbers per cell and unit of width in the column blocks."""
    cells = (features + config["row_num_cls"]) * (context + query)
    return float(NUMBER_BYTES * (6 + 2 * config["ff_factor"]) * cells * config["embed_dim"])


def attention(config: dict[str, Any], *, features: int) -> int:
    """Returns the operations per pair of context rows; only the in-context attention grows with their square."""
    return int(4 * config["icl_num_blocks"] * config["embed_dim"] * config["row_num_cls"])


def _attend(
    tape: Tape,
    factor: int,
    path: str,
    tables: int,
    asking: int,
    shown: int,
    width: int,
    heads: int,
    *,
    own: bool = False,
    once: bool = False,
    rope: bool = False,
    ssmax: object = False,
) -> None:
    """Records a ``MultiheadAttentionBlock`` in which ``asking`` tokens attend to ``shown`` ones in each table.

    ``own``: the shown tokens are among the asking ones, so both come out of one norm. ``once``: every table has the
    same asking tokens, which are computed only once before the attention.
    """
    query_tokens, key_tokens, name = tables * asking, tables * shown, path.rpartition(".")[2]
    asked_tokens = asking if once else query_tokens
    tape.keep(f"{name} statistics", 2 * asked_tokens + (0 if own else 2 * key_tokens), wide=True)
    inputs = {f"{name} asking": asked_tokens} | ({} if own else {f"{name} shown": key_tokens})
    tape.linear(f"{path}.attn.in_proj_weight", inputs, (3 * width, width), read=True)
    queries = query_tokens * width
    if ssmax:
        scaled, inner = asked_tokens * width, asked_tokens * heads * SSMAX_HIDDEN
        tape.keep(f"{name} scaled", 3 * scaled + inner)  # unscaled, tanh, scales; GELU's input
        if tape.trained.everything:
            tape.keep(f"{name} scaling", 2 * scaled + inner)  # inputs of its layers and products
    # q, k and v are views of one tensor, all of which v keeps alive even if q and k are rotated copies
    packed = 3 * query_tokens if own and rope else 2 * key_tokens
    rotated = query_tokens + key_tokens if rope else asked_tokens
    tape.keep(f"{name} q, k, v", (packed + rotated) * width)
    tape.keep(f"{name} answer", queries + query_tokens * heads)
    tape.linear(f"{path}.attn.out_proj", {f"{name} answer": query_tokens}, (width, width), read=True)
    tape.norm(f"{name} sum", query_tokens, width)
    hidden = factor * width
    tape.linear(f"{path}.linear1", {f"{name} normal": query_tokens}, (hidden, width))
    tape.keep(f"{name} hidden", query_tokens * hidden)
    tape.linear(f"{path}.linear2", {f"{name} active": query_tokens}, (width, hidden))
