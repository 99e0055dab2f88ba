"""Mitra in AutoGluon 1.6 (``tab2d.py``): a cell is a token; attention over rows, then columns, always recomputed.

Shape letters: S context cells, N query cells (of the label's column too), D width.
"""

from typing import Any

from tabtune_core.models.activation_tape import NUMBER_BYTES, Tape


def training(tape: Tape, config: dict[str, Any], *, context: int, query: int, features: int, classes: int) -> None:
    """Records one training step; an episode never has more classes than the model has outputs."""
    width, outputs, heads = config["dim"], config["dim_output"], config["n_heads"]
    context_cells, query_cells = context * (features + 1), query * (features + 1)
    cells = context_cells + query_cells
    with tape.block(0):
        tape.linear("x_embedding.x_embedding", {"cells": cells}, (width, 1))
        tape.live = tape.live or "y_embedding.y_embedding" in tape.trained.ranks
    for i in range(config["n_layers"]):
        path = f"layers.{i}"
        with tape.block(cells * width):
            for half, (up, down) in enumerate((("linear1", "linear2"), ("linear3", "linear4")), start=1):
                over_rows = half == 1
                tape.norm("input" if over_rows else f"cells {half}", cells, width)
                for part in "qkv":
                    inputs = {f"normal {half}": cells}
                    if over_rows and part != "q":  # the context's keys are made again for the query
                        inputs[f"normal {half} again"] = context_cells
                    tape.linear(f"{path}.attention{half}.{part}", inputs, (width, width))
                    tape.keep(f"{part} {half}", sum(inputs.values()) * width)
                tape.keep(f"answer {half}", cells * (width + heads))
                tape.linear(f"{path}.attention{half}.o", {f"answer {half}": cells}, (width, width))
                tape.norm(f"sum {half}", cells, width)
                tape.linear(f"{path}.{up}", {f"normal sum {half}": cells}, (4 * width, width))
                tape.keep(f"hidden {half}", cells * 4 * width)
                tape.linear(f"{path}.{down}", {f"active {half}": cells}, (width, 4 * width))
            tape.passing(9 * cells * width)  # of the block's output, and on both sides of the last GELU
    with tape.block(query_cells * width):
        tape.linear("final_layer", {"normal": query_cells}, (outputs, width))
        tape.keep("outputs", query_cells * outputs, wide=True)


def predicting(config: dict[str, Any], *, context: int, query: int, features: int) -> float:
    """Estimates the peak bytes of a prediction: around GELU, two inputs and two tensors of four times the width."""
    cells = (context + query) * (features + 1)
    return float(NUMBER_BYTES * 10 * cells * config["dim"])


def attention(config: dict[str, Any], *, features: int) -> int:
    """Returns the operations per pair of context rows in a prediction: rows attend to each other column by column."""
    return int(4 * config["n_layers"] * config["dim"] * (features + 1))
