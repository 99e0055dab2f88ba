"""The devices that a run can be given, in words. ``tabtune_core.gpus``, or the worker of a cluster, tells which GPUs there are."""

ON_A_CLUSTER = {"auto": "auto: a GPU of the cluster; a CPU if it has no GPU", "cpu": "cpu", "cuda:0": "cuda: a GPU of the cluster"}


def device_names(cards: list[str]) -> dict[str, str]:
    """What a person reads for each value of the setting ``device``.

    Nothing in it changes while a page is open: Streamlit knows a chosen option by its words, and takes words it has not for a new option.
    """
    titles = {f"cuda:{i}": f"cuda:{i} ({card})" for i, card in enumerate(cards)}
    if len(cards) > 1:
        automatic = f"auto: a free one of {len(cards)} GPUs"
    else:
        automatic = f"auto: {titles['cuda:0']}" if cards else "auto: cpu; no NVIDIA GPU found"
    return {"auto": automatic, "cpu": "cpu", **titles}


def free_memory(machine: tuple[int, int], memory: list[tuple[int, int] | None]) -> str:
    """Free and total bytes, of the machine and of each GPU, in words; a GPU whose driver does not tell is N/A.

    >>> free_memory((8 * 10**9, 16 * 10**9), [(71_200_000_000, 79_600_000_000), None])
    'Free now: cpu 8.0 of 16.0 GB, cuda:0 71.2 of 79.6 GB, cuda:1 N/A.'
    """
    of_cards = [f"cuda:{i} {_gigabytes(*one) if one else 'N/A'}" for i, one in enumerate(memory)]
    return f"Free now: {', '.join([f'cpu {_gigabytes(*machine)}', *of_cards])}."


def _gigabytes(free_bytes: int, total_bytes: int) -> str:
    return f"{free_bytes / 1e9:.1f} of {total_bytes / 1e9:.1f} GB"
