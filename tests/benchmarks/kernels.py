"""How many kernels does a training step launch on a GPU? LoRA against full fine-tuning, in fp32 and under bf16
autocast.

``python tests/benchmarks/kernels.py`` prints Markdown; ``--write`` puts it into the documentation. It needs no GPU and
takes less than a minute.

TabICL v2's architecture with random weights, its own LoRA targets, rank 8, an episode of 256 rows x 10 columns. The
forward and backward pass of a step take the GPU's code path on a CPU (``as_on_a_gpu`` in ``tests/dispatched.py``), and
what torch dispatches below autograd is counted. Views, uninitialised memory and the profiler's own entries launch
nothing (``LAUNCHES_NOTHING`` there) and are not counted, on either side. Autocast is the CPU's, whose lists differ from
CUDA's, for example where a norm reads 16 bits. Clipping and the optimizer are counted separately: an operation on all
weights is one call here, and several launches on a GPU. Waits are those within a step; after it the loop reads the loss
and the gradient's norm in one more, which a CPU's tensors do not show.
"""

import tempfile
from pathlib import Path

import torch
from full_size import CLASSES, CPU, Steps, noise, opened
from published import markdown_table, options, publish

from dispatched import Dispatched, as_on_a_gpu  # isort: skip  # full_size puts tests/ on the path
from tabtune_core.lora.half_copies import half_copies
from tabtune_core.training.step import Precision, episode_loss

ROWS, FEATURES = 256, 10
"""The size of the episode."""
DROPOUTS = {"full fine-tuning": None, "LoRA": 0.0, "LoRA, dropout 0.05": 0.05}


def counted(dropout: float | None, dtype: torch.dtype | None, folder: Path) -> tuple[Dispatched, Dispatched]:
    """The dispatches of a step's forward and backward pass, and of a whole step; full fine-tuning if ``dropout`` is
    None.
    """
    steps, episode = (
        Steps(opened("tabicl-v2", folder), None if dropout is None else (), dropout=dropout or 0.0),
        noise(ROWS, FEATURES),
    )
    precision = Precision("cpu", dtype, Precision.of("off", CPU).scaler)
    factors = [p for name, p in steps.model.module.named_parameters() if "lora_" in name]
    with as_on_a_gpu(), half_copies(steps.model.module, factors, dtype):
        steps.step(episode, precision)
        with Dispatched() as whole:
            steps.step(episode, precision)
        steps.optimizer.zero_grad(set_to_none=True)
        with Dispatched() as passes:
            with precision.autocast():
                loss = episode_loss(steps.model, episode, CLASSES, CPU)
            loss.backward()  # type: ignore[no-untyped-call]
    return passes, whole


def main() -> None:
    """Counts, prints, and writes with ``--write``."""
    parser = options(__doc__)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        full: dict[str, int] = {}
        for precision, dtype in (("fp32", None), ("bf16", torch.bfloat16)):
            for kind, dropout in DROPOUTS.items():
                passes, whole = counted(dropout, dtype, Path(folder))
                number = len(passes.kernels)
                full.setdefault(precision, number)
                ratios = [f"{number / full[of]:.2f}" for of in (precision, "fp32")]
                rows.append(
                    [precision, kind, str(number), *ratios, str(len(whole.waits)), str(len(whole.kernels) - number)]
                )
    columns = [
        "Precision",
        "Step",
        "Kernels",
        "Ratio to full",
        "Ratio to full in fp32",
        "Host waits",
        "Clipping and optimizer",
    ]
    table = markdown_table(columns, rows)
    publish("kernels", table, write=asked.write)


if __name__ == "__main__":
    main()
