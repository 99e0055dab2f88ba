"""Counts what autograd keeps of a forward pass, layer by layer, without running it.

In: which weights train, and the layers of a model in the order in which they are called. Out: bytes, block by block.

What a layer keeps follows from its derivative (PyTorch's ``derivatives.yaml``): a linear layer its input where its weight trains, GELU and
a norm their inputs, attention q, k, v and its output. A tensor that two layers keep is there once. Nothing is kept before the first weight
that trains, so that late targets are cheap.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from tabtune_core.variants import VARIANTS

NUMBER_BYTES = 4
"""A float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """Which weights train, and how."""

    everything: bool
    """Full fine-tuning."""
    ranks: Mapping[str, int]
    """Of the adapted weights, by their path in the catalogue's shapes; empty without LoRA."""
    dropout: bool
    """Whether inputs of the adapter are hidden at random."""
    biases: bool = False
    """Whether all biases train, those of layers without an adapter included: then there is a gradient from the first layer on."""
    variant: str = "lora"
    """Of the adapter, by its name in ``VARIANTS``."""


@dataclass(slots=True)
class Block:
    """A part of the forward pass that gradient checkpointing would compute again."""

    input_bytes: float = 0.0
    """What is kept of it with gradient checkpointing."""
    kept_bytes: float = 0.0
    """What is kept of it without, its input included."""
    passing_bytes: float = 0.0
    """Most temporary gradients in its backward pass, while all of it is still kept."""


@dataclass(slots=True)
class Tape:
    """Records one layer after the other; a name stands for one tensor of the current block, which is kept once."""

    trained: Trained
    number_bytes: int = NUMBER_BYTES
    """Of what a linear layer reads and gives: 2 under 16-bit autocast, which leaves norms and residuals in 32 bits."""
    mask_bytes: int = 4
    """Of one number's dropout in DoRA, which is torch's: CPU kernels keep a float, CUDA's a byte. LoRA's own is a byte."""
    live: bool = False
    """Whether a trainable weight came before: only then does the current tensor need a gradient."""
    blocks: list[Block] = field(default_factory=list)
    _kept: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.live = self.trained.biases

    @property
    def hides(self) -> bool:
        """Whether inputs of the adapter are hidden at random."""
        return self.trained.dropout

    @contextmanager
    def block(self, inputs: float) -> Iterator[None]:
        """Layers that gradient checkpointing takes together; ``inputs`` is how many numbers they read."""
        self.blocks.append(Block())
        self._kept = set()
        self.keep("input", inputs, wide=True)
        self.blocks[-1].input_bytes = self.blocks[-1].kept_bytes
        yield

    def keep(self, name: str, numbers: float, *, wide: bool = False, trains: bool = False) -> None:
        """A tensor that is kept if a backward pass reaches this layer, as it does where a weight here trains (``trains``).

        Args:
            name: of the tensor in this block.
            numbers: how many it has.
            wide: always float32.
            trains: a weight of this layer trains.
        """
        if (self.live or trains or self.trained.everything) and name not in self._kept:
            self.keep_bytes(name, numbers * (NUMBER_BYTES if wide else self.number_bytes))

    def keep_bytes(self, name: str, size_bytes: float) -> None:
        """A tensor that is always kept, in bytes."""
        self._kept.add(name)
        self.blocks[-1].kept_bytes += size_bytes

    def passing(self, numbers: float) -> None:
        """Gradients that the backward pass of this block makes while it still holds what the block kept.

        They count beside a block that was computed again; beside the whole of a model, kept at once, they are few.
        """
        self.blocks[-1].passing_bytes = numbers * self.number_bytes if self.live else 0

    def norm(self, name: str, rows: float, width: float) -> None:
        """A layer norm: its input, and mean and deviation of every row."""
        self.keep(name, rows * width, wide=True)
        self.keep(f"{name} statistics", 2 * rows, wide=True)

    def linear(self, path: str, inputs: Mapping[str, float], shape: tuple[int, int], *, read: bool = False) -> None:
        """A layer whose weight is ``(out, in)``.

        Args:
            path: of the weight, as the catalogue has it.
            inputs: rows by the name of the tensor that is read.
            shape: of the weight.
            read: the weight is read as a tensor, of which a variant may make an updated copy; else the layer is called.
        """
        rank = self.trained.ranks.get(path)
        if rank:
            VARIANTS[self.trained.variant].keep(self, path, inputs, shape, rank, read=read)
        elif self.trained.everything:
            for name, rows in inputs.items():
                self.keep(name, rows * shape[1])
        self.live = self.live or self.trained.everything or bool(rank)

    def peak_bytes(self, *, checkpointed: bool) -> float:
        """Most that is kept at once: all of it, or with checkpointing what is kept when one block has been computed again."""
        if not checkpointed:
            return sum(block.kept_bytes for block in self.blocks)
        before, peak = 0.0, 0.0
        for block in self.blocks:
            before += block.input_bytes
            peak = max(peak, before - block.input_bytes + block.kept_bytes + block.passing_bytes)
        return peak
