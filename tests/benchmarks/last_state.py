"""How many bytes and seconds does it take to save the state from which a killed run resumes, with LoRA and with full
fine-tuning?

Tensors of the model's own shapes with random numbers, and Adam's two for each. ``python
tests/benchmarks/last_state.py`` prints Markdown; ``--write`` puts it into the documentation.
"""

import statistics
import tempfile
import time
from pathlib import Path

import torch
from named_machine import machine
from published import markdown_table, options, publish

from tabtune_core.models.cards import adapter_size
from tabtune_core.models.catalogue import get_card
from tabtune_core.settings import LoraSettings
from tabtune_core.training.last_state import LIGHT_BYTES
from tabtune_core.training.state_file import read_state, write_state

MODELS = ("tabicl-mini", "tabicl-v2")
TASK = "classification"
TIMES = 3


def sizes(name: str) -> dict[str, tuple[int, int]]:
    """By strategy, the number of trained values and of their tensors."""
    card = get_card(name)
    shapes = card.adapted_shapes(TASK, LoraSettings().targets)
    weights = card.weights_for(TASK).total_parameters
    return {
        "LoRA r=8": (adapter_size(card, TASK, LoraSettings(rank=8)).trainable, 2 * len(shapes)),
        "full": (weights, 2 * len(shapes)),
    }


def state(numbers: int, tensors: int) -> dict[str, torch.Tensor]:
    """A last state of ``numbers`` trained values, spread over ``tensors`` parameters."""
    each = max(1, numbers // tensors)
    kinds = ("parameter", "optimizer exp_avg", "optimizer exp_avg_sq")
    return {f"{kind} layer{place}": torch.randn(each) for place in range(tensors) for kind in kinds}


def seconds_of(work) -> str:
    """Median and longest time of ``work``, in seconds."""
    taken = []
    for _ in range(TIMES):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return f"{statistics.median(taken):.3f} ({max(taken):.3f})"


def main() -> None:
    """Writes and reads back a state of each kind."""
    parser = options(__doc__)
    parser.add_argument("--folder", type=Path, help="folder on the disk to be measured (default: the temporary folder)")
    asked = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        file = Path(folder) / "last.safetensors"
        for name in MODELS:
            for strategy, (numbers, tensors) in sizes(name).items():
                made = state(numbers, tensors)
                written = write_state(file, made, {})
                took = [seconds_of(lambda made=made: write_state(file, made, {})), seconds_of(lambda: read_state(file))]
                lines.append(
                    [
                        name,
                        strategy,
                        f"{written / 1e6:,.1f}",
                        *took,
                        "every evaluation" if written <= LIGHT_BYTES else "as time allows",
                    ]
                )
    table = markdown_table(["Model", "Trained", "MB", "Save, s", "Read, s", "Saved after"], lines)
    text = f"{table}\n\nMedian and longest of {TIMES}, with the wait for the disk. {machine()}."
    publish("last-state", text, write=asked.write)


if __name__ == "__main__":
    main()
