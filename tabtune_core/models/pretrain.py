"""Pre-trains the small base model that ships in the package: ``python -m tabtune_core.models.pretrain --help``.

In: synthetic tables from ``tabicl.prior``. Out: a checkpoint in the upstream package's own schema.
Shape letters: B tables of one group, T rows, F features, C context rows, K classes.

A child process makes groups of tables, numbered and seeded one by one; this process trains on them in a fixed order, so that
two runs from one seed see the same tables. Needs the extra ``pretrain`` (xgboost, which the tree prior uses).
"""

import argparse
import copy
import itertools
import random
import time
import warnings
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Full
from typing import Any

import numpy as np
import torch
from torch import multiprocessing, nn
from torch.nn import functional as F

from tabtune_core.models.catalogue import MINI

GROUP_TABLES, STEP_GROUPS, GROUP_USES, BUFFER_GROUPS = 8, 4, 3, 48
MAX_FEATURES, FEATURE_SHARES = (3, 6, 10, 16, 30), (0.2, 0.25, 0.3, 0.15, 0.1)
EMA_DECAY = 0.998


@dataclass(frozen=True, slots=True)
class Group:
    """Tables of one shape: ``x_BTF`` float32, ``y_BT`` integer class ids."""

    x_BTF: torch.Tensor
    y_BT: torch.Tensor


def make_group(seed: int, number: int) -> Group:
    """Draws the group ``number`` of the stream ``seed``."""
    from tabicl.prior import PriorDataset

    state = seed * 1_000_003 + number
    rng = np.random.default_rng(state)
    # tabicl.prior draws from the three global generators; this is a process of its own
    random.seed(state)
    np.random.seed(state % 2**32)  # noqa: NPY002
    torch.manual_seed(state)
    rows = int(np.exp(rng.uniform(np.log(64), np.log(256))))
    prior = PriorDataset(
        batch_size=GROUP_TABLES, batch_size_per_gp=GROUP_TABLES, min_features=2,
        max_features=int(rng.choice(MAX_FEATURES, p=FEATURE_SHARES)), max_classes=10, max_seq_len=rows,
        prior_type="graph_scm" if rng.random() < 1 / 3 else "mix_scm", n_jobs=1,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x, y, widths, *_ = prior.get_batch()
    x_BTF = torch.stack(list(x.unbind())).float()[:, :, : int(widths.max())]
    return Group(torch.nan_to_num(x_BTF).clamp(-100, 100), torch.stack(list(y.unbind())).long())


def _generate(seed: int, first: int, stride: int, queue: Any) -> None:
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    assert parent is not None
    for number in itertools.count(first, stride):
        group = make_group(seed, number)
        while True:
            try:
                queue.put(group, timeout=1)
                break
            except Full:
                if not parent.is_alive():
                    return


def group_stream(seed: int, start: int, processes: int) -> Iterator[Group]:
    """Yields the groups ``start``, ``start + 1``, ... made by ``processes`` children that end with this process."""
    context = multiprocessing.get_context("spawn")
    queues = [context.Queue(maxsize=16) for _ in range(processes)]
    for index, queue in enumerate(queues):
        context.Process(target=_generate, args=(seed, start + index, processes, queue), daemon=True).start()
    while True:
        for queue in queues:
            yield queue.get()


def group_loss(model: nn.Module, group: Group, rng: np.random.Generator) -> torch.Tensor:
    """Mean cross-entropy (nats) on the query rows, after fresh permutations of rows, features and class ids.

    Query rows whose class is absent from the context of their table say nothing about in-context learning and are left out.
    """
    tables, rows, features = group.x_BTF.shape
    row_order = torch.from_numpy(rng.permutation(rows))
    x_BTF = group.x_BTF[:, row_order][:, :, torch.from_numpy(rng.permutation(features))]
    classes_B = group.y_BT.amax(1) + 1
    ids_BK = torch.stack([F.pad(torch.from_numpy(rng.permutation(int(k))), (0, 10 - int(k))) for k in classes_B])
    y_BT = ids_BK.gather(1, group.y_BT[:, row_order])
    context = int(rows * rng.uniform(0.3, 0.8))
    y_BC, targets_BT = y_BT[:, :context], y_BT[:, context:]
    logits_BTK = model(x_BTF, y_BC.float())
    logits_BTK = logits_BTK.masked_fill(torch.arange(10) >= classes_B[:, None, None], float("-inf"))
    seen_BK = torch.zeros(tables, 10, dtype=torch.bool).scatter_(1, y_BC, True)
    targets_BT = targets_BT.masked_fill(~seen_BK.gather(1, targets_BT), -100)
    return F.cross_entropy(logits_BTK.flatten(0, 1), targets_BT.flatten(), ignore_index=-100)


def _accumulate(model: nn.Module, groups: list[Group], rng: np.random.Generator) -> float:
    """Adds up the gradients of the mean loss over ``groups`` and returns it."""
    total = 0.0
    for group in groups:
        loss = group_loss(model, group, rng) / len(groups)
        if torch.isfinite(loss):  # a group none of whose query rows could be scored gives no number
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
    return total


def make_optimizers(model: nn.Module, rate: float) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) for the hidden matrices, AdamW for embeddings, label encoders, the last layer and vectors."""
    outer = ("in_linear", "y_encoder", "decoder.2", "cls_tokens", "ind_vectors")
    hidden = [p for n, p in model.named_parameters() if p.requires_grad and p.ndim == 2 and not any(part in n for part in outer)]
    chosen = {id(p) for p in hidden}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in chosen]
    muon = torch.optim.Muon(hidden, lr=rate, momentum=0.9, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    return [muon, torch.optim.AdamW(rest, lr=rate, weight_decay=0.01)]


def rate_factor(step: int, steps: int, warmup: int = 50) -> float:
    """Linear warm-up, then a cosine to 2 % of the peak."""
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    return float(0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * progress)))


def _follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Moves the averaged weights towards those of the model: an exponential moving average."""
    with torch.no_grad():
        for mean, value in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
            mean.lerp_(value, 1 - decay)


def save_checkpoint(model: nn.Module, path: Path) -> None:
    """Writes ``{"config", "state_dict"}``, the schema that ``tabicl`` reads."""
    torch.save({"config": MINI, "state_dict": model.state_dict()}, path)


def pretrain(workdir: Path, steps: int, rate: float, seed: int, resume: bool, save_every: int = 100) -> Iterator[tuple[int, float]]:
    """Trains for ``steps`` steps in all and yields ``(step, loss in nats)``; ``workdir`` receives ``mini.ckpt`` and ``state.pt``."""
    from tabicl._model.tabicl import TabICL

    torch.set_num_threads(1)
    torch.manual_seed(seed)  # the start of the weights
    model = TabICL(**MINI).train()
    average = copy.deepcopy(model).requires_grad_(False)
    optimizers = make_optimizers(model, rate)
    buffer: deque[Group] = deque(maxlen=BUFFER_GROUPS)
    rng = np.random.default_rng(seed)
    step = drawn = 0
    state_file = workdir / "state.pt"
    if resume:
        state = torch.load(state_file, weights_only=True)
        step, drawn = state["step"], state["drawn"]
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        buffer.extend(Group(*tensors) for tensors in state["buffer"])
        rng.bit_generator.state = state["rng"]
    groups = group_stream(seed, drawn, processes=1)
    while step < steps:
        wanted = max(STEP_GROUPS, (step + 1) * STEP_GROUPS // GROUP_USES)
        while drawn < wanted:
            buffer.append(next(groups))
            drawn += 1
        for optimizer in optimizers:
            for param_group in optimizer.param_groups:
                param_group["lr"] = rate * rate_factor(step, steps)
        total = _accumulate(model, [buffer[i] for i in rng.choice(len(buffer), STEP_GROUPS, replace=False)], rng)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step += 1
        _follow(average, model, min(EMA_DECAY, step / (step + 10)))
        yield step, total
        if step % save_every == 0 or step == steps:
            save_checkpoint(average, workdir / "mini.ckpt")
            state = dict(
                step=step, drawn=drawn, model=model.state_dict(), average=average.state_dict(),
                optimizers=[o.state_dict() for o in optimizers], buffer=[(g.x_BTF, g.y_BT) for g in buffer],
                rng=rng.bit_generator.state,
            )  # fmt: skip
            partial = state_file.with_suffix(".partial")
            torch.save(state, partial)
            partial.replace(state_file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdir", type=Path, help="folder for mini.ckpt (the averaged weights) and state.pt (to go on from)")
    parser.add_argument("--steps", type=int, default=4000, help="optimizer steps in all, 32 tables each (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the weights, the tables and their order (default: %(default)s)")
    parser.add_argument("--resume", action="store_true", help="go on from state.pt in the folder")
    arguments = parser.parse_args()
    arguments.workdir.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    losses: deque[float] = deque(maxlen=100)
    for step, loss in pretrain(**vars(arguments)):
        losses.append(loss)
        if step % 20 == 0 or step <= 3:
            print(f"step {step}  loss {np.mean(losses):.4f} nats  {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
