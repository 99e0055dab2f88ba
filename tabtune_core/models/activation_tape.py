"""Counts the tensors that autograd keeps of a forward pass, layer by layer, without running it.

What a layer keeps follows from its derivative (PyTorch's ``derivatives.yaml``): a linear layer keeps its input if its
weight trains, GELU and norms keep their inputs, attention keeps q, k, v and its output; a tensor that two layers keep
counts once. Nothing is kept before the first weight that trains, so late targets are cheap.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from tabtune_core.variants import VARIANTS

NUMBER_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """Which weights train, and how."""

    everything: bool
    """Full fine-tuning."""
    ranks: Mapping[str, int]
    """Ranks of the adapted weights, by their path in the catalogue's shapes; empty without LoRA."""
    dropout: bool
    """Whether the adapter has dropout."""
    biases: bool = False
    """Whether all biases train, also in layers without an adapter; there is then a gradient from the first layer on."""
    variant: str = "lora"
    """The adapter's variant, by its name in ``VARIANTS``."""


@dataclass(slots=True)
class Block:
    """A part of the forward pass that gradient checkpointing recomputes as a whole."""

    input_bytes: float = 0.0
    """Bytes kept with gradient checkpointing."""
    kept_bytes: float = 0.0
    """Bytes kept without gradient checkpointing, its input included."""
    passing_bytes: float = 0.0
    """Peak of the temporary gradients in its backward pass, while all of ``kept_bytes`` is still held."""


@dataclass(slots=True)
class Tape:
    """Records layers in call order. Each name stands for one tensor of the current block, which is counted once."""

    trained: Trained
    number_bytes: int = NUMBER_BYTES
    """Bytes per number of a linear layer's input and output: 2 under 16-bit autocast."""
    mask_bytes: int = 4
    """Bytes per number of DoRA's dropout mask: torch's is a float on the CPU, a byte on CUDA."""
    live: bool = False
    """Whether a trainable weight came before, so that the current tensor needs a gradient."""
    blocks: list[Block] = field(default_factory=list)
    _kept: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.live = self.trained.biases

    @property
    def hides(self) -> bool:
        """Whether the adapter has dropout."""
        return self.trained.dropout

    @contextmanager
    def block(self, inputs: float) -> Iterator[None]:
        """Groups layers that gradient checkpointing recomputes together; ``inputs`` is how many numbers they read."""
        self.blocks.append(Block())
        self._kept = set()
        self.keep("input", inputs, wide=True)
        self.blocks[-1].input_bytes = self.blocks[-1].kept_bytes
        yield

    def keep(self, name: str, numbers: float, *, wide: bool = False, trains: bool = False) -> None:
        """Records a tensor that is kept if the layer or a weight of it needs a gradient; in float32 if ``wide``."""
        if (self.live or trains or self.trained.everything) and name not in self._kept:
            self.keep_bytes(name, numbers * (NUMBER_BYTES if wide else self.number_bytes))

    def keep_bytes(self, name: str, size_bytes: float) -> None:
        """Records a tensor that is always kept, in bytes."""
        self._kept.add(name)
        self.blocks[-1].kept_bytes += size_bytes

    def passing(self, numbers: float) -> None:
        """Records the gradients of this block's backward pass while it still holds what it kept."""
        self.blocks[-1].passing_bytes = numbers * self.number_bytes if self.live else 0

    def norm(self, name: str, rows: float, width: float) -> None:
        """Records a layer norm: its input, and mean and deviation of every row."""
        self.keep(name, rows * width, wide=True)
        self.keep(f"{name} statistics", 2 * rows, wide=True)

    def linear(self, path: str, inputs: Mapping[str, float], shape: tuple[int, int], *, read: bool = False) -> None:
        """Records a layer with a weight ``(out, in)``; ``inputs`` has the rows by name of the tensor that it reads.

        A variant may make an updated copy of a weight that is ``read`` as a tensor; otherwise the layer is called.
        """
        rank = self.trained.ranks.get(path)
        if rank:
            VARIANTS[self.trained.variant].keep(self, path, inputs, shape, rank, read=read)
        elif self.trained.everything:
            for name, rows in inputs.items():
                self.keep(name, rows * shape[1])
        self.live = self.live or self.trained.everything or bool(rank)

    def peak_bytes(self, *, checkpointed: bool) -> float:
        """Returns the most bytes kept at once: all blocks, or with checkpointing all inputs and one whole block."""
        if not checkpointed:
            return sum(block.kept_bytes for block in self.blocks)
        before, peak = 0.0, 0.0
        for block in self.blocks:
            before += block.input_bytes
            peak = max(peak, before - block.input_bytes + block.kept_bytes + block.passing_bytes)
        return peak
