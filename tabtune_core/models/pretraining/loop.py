"""The pre-training loop.

In: a recipe and a pool of tables. Out: a stream of losses, and files that training goes on from. Step ``n`` is a function of the
seed, ``n`` and the weights alone, so a run that was stopped goes on as if it had not been.
"""

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tabtune_core.files.whole import in_one_move
from tabtune_core.models.pretraining.episodes import Size
from tabtune_core.models.pretraining.families import Recipe
from tabtune_core.models.pretraining.tables import Pool

EMA_DECAY = 0.998
WARMUP_STEPS, FIRST_STEPS = 50, 150
HOLD = 0.65
"""Share of the steps after which the rate falls; a run can be given more or fewer steps when it is resumed before that."""


def make_optimizers(model: nn.Module, outer: tuple[str, ...], rate: float) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) for the hidden matrices, AdamW for those next to inputs and outputs and for vectors."""
    hidden = [p for n, p in model.named_parameters() if p.requires_grad and p.ndim == 2 and not any(part in n for part in outer)]
    chosen = {id(p) for p in hidden}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in chosen]
    muon = torch.optim.Muon(hidden, lr=rate, momentum=0.9, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    return [muon, torch.optim.AdamW(rest, lr=rate, weight_decay=0.01)]


def rate_factor(step: int, steps: int) -> float:
    """Linear warm-up, the peak held, then a straight line to 2 % of it."""
    falling = max(0.0, (step - HOLD * steps) / max(1.0, steps - HOLD * steps))
    return min((step + 1) / WARMUP_STEPS, 1 - 0.98 * falling)


def start_from(model: nn.Module, *paths: Path) -> None:
    """Takes over every weight of other checkpoints that has the same name and shape here; of several, their mean."""
    states = [_read_weights(path) for path in paths]
    own = model.state_dict()
    fitting = [name for name, weight in own.items() if all(name in state and state[name].shape == weight.shape for state in states)]
    model.load_state_dict({**own, **{name: sum(state[name] for state in states) / len(states) for name in fitting}})


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    file = path / "model.safetensors" if path.is_dir() else path
    if file.suffix == ".safetensors":
        return load_file(file)
    weights: dict[str, torch.Tensor] = torch.load(file, weights_only=True)["state_dict"]
    return weights


def _follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Moves the averaged weights towards those of the model: an exponential moving average."""
    with torch.no_grad():
        for mean, value in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
            mean.lerp_(value, 1 - decay)


def _size(recipe: Recipe, step: int, steps: int) -> Size:
    if step < FIRST_STEPS:
        return recipe.first
    return recipe.late if step > HOLD * steps else recipe.early


def _accumulate(recipe: Recipe, model: nn.Module, pool: Pool, size: Size, seed: int, step: int) -> dict[str, float]:
    """Adds up the gradients of the step's groups; the mean loss by task."""
    rng = np.random.default_rng([seed, step])
    losses: dict[str, list[float]] = {}
    for index in range(recipe.step_groups):
        number = step * recipe.step_groups + index
        group = pool.group(number)
        # not the group's own parity, or a table of the pool would meet the same task at every pass
        task = recipe.losses[(index + number // pool.groups) % len(recipe.losses)]
        if not (group.is_numeric or "class" in task.__name__):
            if len(recipe.losses) == 1:
                continue
            task = recipe.losses[0]
        loss = task(model, group, size, rng)
        if torch.isfinite(loss):  # a group none of whose query rows could be scored gives no number
            (loss / recipe.step_groups).backward()  # type: ignore[no-untyped-call]
            losses.setdefault(task.__name__, []).append(loss.item())
    return {name: float(np.mean(values)) for name, values in losses.items()}


def pretrain(
    recipe: Recipe,
    workdir: Path,
    pool: Pool,
    *,
    steps: int,
    rate: float = 2e-3,
    seed: int = 0,
    resume: bool = False,
    start: Sequence[Path] = (),
    save_every: int = 100,
) -> Iterator[tuple[int, dict[str, float]]]:
    """Trains for ``steps`` steps in all and yields ``(step, loss by task)``.

    ``workdir`` receives the recipe's file, the averaged weights, and ``state.pt``; ``start`` are checkpoints to begin with.
    """
    torch.set_num_threads(1)
    torch.manual_seed(seed)  # the start of the weights
    model = recipe.build()
    if start:
        start_from(model, *start)
    average = copy.deepcopy(model).requires_grad_(False)
    optimizers = make_optimizers(model, recipe.outer, rate)
    step, state_file = 0, workdir / "state.pt"
    if resume:
        state = torch.load(state_file, weights_only=True)
        step = state["step"]
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
    while step < steps:
        for optimizer in optimizers:
            for param_group in optimizer.param_groups:
                param_group["lr"] = rate * rate_factor(step, steps)
        losses = _accumulate(recipe, model, pool, _size(recipe, step, steps), seed, step)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step += 1
        _follow(average, model, min(EMA_DECAY, step / (step + 10)))
        yield step, losses
        if step % save_every == 0 or step == steps:
            recipe.save(average, workdir / recipe.file)
            weights = {"model": model.state_dict(), "average": average.state_dict()}
            with in_one_move(state_file) as partial:
                torch.save({"step": step, "optimizers": [o.state_dict() for o in optimizers], **weights}, partial)
