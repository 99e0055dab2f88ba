"""Which NVIDIA cards this machine has, asked of the driver and not of torch."""

import pynvml


def card_names() -> list[str]:
    """Names of the cards in the driver's order; empty where there is no driver or no card."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        return [name.decode() if isinstance(name := pynvml.nvmlDeviceGetName(handle), bytes) else name for handle in handles]
    except pynvml.NVMLError:
        return []
    finally:
        pynvml.nvmlShutdown()
