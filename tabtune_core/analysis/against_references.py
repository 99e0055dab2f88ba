"""What a sweep's references, which need no foundation model, score beside its best LoRA.

In: the leaderboard of one sweep. Out: sentences of numbers; how much of a difference is noise is not said here.
"""

from collections.abc import Iterator

import pandas as pd

from tabtune_core.analysis.comparison import CONFIGURATION
from tabtune_core.metrics import METRICS
from tabtune_core.settings import REFERENCES, STRATEGY_NAMES


def against_references(board: pd.DataFrame, rank_by: str) -> Iterator[str]:
    """One sentence a reference: the mean of its validation score, over the seeds under which the best LoRA has one too.

    The best is that by the mean over the seeds that all LoRA configurations have, where there are any: another seed is another split.
    """
    meaning, score = METRICS[rank_by], f"validation_{rank_by}"
    known = board[board[score].notna() & ~board["archived"] & (board["apart"] == "")]
    lora = known[known["strategy"] == "peft"]
    if lora.empty:
        return
    configuration = lora.groupby(CONFIGURATION, dropna=False).ngroup()
    shared = configuration.groupby(lora["seed"]).transform("nunique") == configuration.nunique()
    means = lora[score].where(shared | (not shared.any())).groupby(configuration).transform("mean")
    best = lora[means == (means.max() if meaning.higher_is_better else means.min())].groupby("seed")[score].first()
    for strategy in REFERENCES:
        reference = known[known["strategy"] == strategy].groupby("seed")[score].first()
        seeds = reference.index.intersection(best.index)
        if not len(seeds):
            continue
        ours, theirs = float(reference[seeds].mean()), float(best[seeds].mean())
        digits, coarse = meaning.decimals(ours), meaning.decimals(max(abs(ours), abs(theirs)))
        apart = abs(ours - theirs)
        if round(apart, digits) == 0:
            how = "as good as the best LoRA"
        else:
            how = f"{'better' if meaning.better(ours, theirs) else 'worse'} than the best LoRA by {apart:,.{coarse}f}"
        over = f", the mean over {len(seeds)} seeds" if len(seeds) > 1 else ""
        name = STRATEGY_NAMES[strategy]
        yield f"{name}, without a foundation model, has a validation {meaning.written} of {ours:,.{digits}f}{over}: {how}."
