"""TabPFN 9.2: a cell is a pair of columns or the target; attention over a row's cells, then over rows.

Query rows read one head; v2.5 and v2.6 have thinking rows before the context, and v2.6's norms a weight.
Shape letters: S context cells, N query cells (of the label's column too), D width.
"""

from typing import Any

from tabtune_core.models.activation_tape import NUMBER_BYTES, Tape
from tabtune_core.models.tabpfn.family import hidden_width


def training(tape: Tape, config: dict[str, Any], *, context: int, query: int, features: int, classes: int) -> None:
    """Records one training step; an episode never has more classes than the model has outputs."""
    width, hidden, rows = config["emsize"], hidden_width(config), context + query
    thinking = config.get("num_thinking_rows", 0)
    outputs, pairs = config["max_num_classes"] or config["num_buckets"], _columns(config, features) - 1
    context_cells, cells = (thinking + context) * (pairs + 1), (thinking + rows) * (pairs + 1)
    _embed(tape, config, rows, pairs)
    for i in range(config["nlayers"]):
        _block(tape, config, f"blocks.{i}", cells, context_cells)
    with tape.block(query * width):
        tape.linear("output_projection.0", {"answers": query}, (hidden, width))
        tape.keep("hidden", query * hidden)
        tape.linear("output_projection.2", {"active": query}, (outputs, hidden))
        tape.keep("outputs", query * outputs, wide=True)


def _embed(tape: Tape, config: dict[str, Any], rows: int, pairs: int) -> None:
    """Records the embedding of the cells."""
    width, asked = config["emsize"], "num_thinking_rows" not in config
    with tape.block(0):
        size = 2 * config["features_per_group"]
        if config.get("encoder_type") == "mlp":
            between = config["encoder_mlp_hidden_dim"]
            tape.linear("feature_group_embedder.0", {"pairs": rows * pairs}, (between, size))
            tape.keep("hidden", rows * pairs * between)
            tape.linear("feature_group_embedder.2", {"active": rows * pairs}, (width, between))
        else:
            tape.linear("feature_group_embedder", {"pairs": rows * pairs}, (width, size), read=asked)
        tape.linear("target_embedder", {"labels": rows}, (width, 2), read=asked)
        tape.linear("feature_positional_embedding_embeddings", {"places": pairs}, (width, width // 4))


def _block(tape: Tape, config: dict[str, Any], path: str, cells: int, context_cells: int) -> None:
    """Records one block."""
    width, hidden, heads = config["emsize"], hidden_width(config), config["nhead"]
    with tape.block(cells * width):
        every = {part: cells for part in "qkv"}
        _attention(tape, f"{path}.per_sample_attention_between_features", every, cells, width, heads)
        _norm(tape, "sum 1", cells, config)
        seen = {"q": cells, "k": context_cells, "v": context_cells}
        _attention(tape, f"{path}.per_column_attention_between_cells", seen, cells, width, heads)
        if tape.trained.everything:  # without a bias, a layer copies the slice that it reads, for k and for v
            tape.keep("context apart", 2 * context_cells * width)
        for part in "kv":  # the first head, once for each of the query's
            tape.keep(f"{part} of the query", context_cells * width)
        tape.keep("answers apart", cells * width)
        _norm(tape, "sum 2", cells, config)
        tape.linear(f"{path}.mlp.0", {"turned": cells}, (hidden, width))
        tape.keep("hidden", cells * hidden)
        tape.linear(f"{path}.mlp.2", {"active": cells}, (width, hidden))
        _norm(tape, "sum 3", cells, config)
        tape.passing(9 * cells * width)  # of the block's output, and on both sides of GELU


def _norm(tape: Tape, name: str, cells: int, config: dict[str, Any]) -> None:
    tape.norm(name, cells, config["emsize"])
    if tape.trained.everything and config["name"] == "TabPFN-v2.6":  # for the norm's weight
        tape.keep(f"{name} normed", cells * config["emsize"], wide=True)


def _attention(tape: Tape, path: str, rows: dict[str, int], cells: int, width: int, heads: int) -> None:
    kind = path.rsplit(".", 1)[1]
    for part, read in rows.items():
        tape.linear(f"{path}.{part}_projection", {f"read by {kind}": read}, (width, width))
        tape.keep(f"{part} of {kind}", read * width)
    tape.keep(f"answer of {kind}", cells * (width + heads))
    tape.linear(f"{path}.out_projection", {f"answer of {kind}": cells}, (width, width))


def _columns(config: dict[str, Any], features: int) -> int:
    """Returns the cells per row: pairs of columns, and the target."""
    return -(-features // int(config["features_per_group"])) + 1


def predicting(config: dict[str, Any], *, context: int, query: int, features: int) -> float:
    """Estimates the peak bytes of a prediction: nine numbers per cell and unit of width are needed, ten counted."""
    cells = (config.get("num_thinking_rows", 0) + context + query) * _columns(config, features)
    return float(NUMBER_BYTES * 10 * cells * config["emsize"])


def attention(config: dict[str, Any], *, features: int) -> int:
    """Returns the operations per pair of context rows in a prediction: rows attend to each other column by column."""
    return int(4 * config["nlayers"] * config["emsize"] * _columns(config, features))
