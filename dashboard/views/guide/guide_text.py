"""The prose of the Guide page, read from ``guide.md`` beside this file; sections are those of the guide that this product follows."""

import re
from dataclasses import dataclass
from pathlib import Path


def _sections(text: str, mark: str) -> dict[str, str]:
    """What stands under each heading of a rank, by its name."""
    parts = re.split(rf"^{mark} (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], map(str.strip, parts[2::2]), strict=True))


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence of the guide against what was found."""

    topic: str
    guide: str
    found: str
    where: str
    """Where and when it was measured, or what it rests on."""


TEXTS = _sections(Path(__file__).with_name("guide.md").read_text(encoding="utf-8"), "##")
"""Markdown by the name of its section."""
CLAIMS = [
    Claim(topic, *(part.replace("\n", " ") for part in told.split("\n\n"))) for topic, told in _sections(TEXTS.pop("claims"), "###").items()
]
UPDATE = r"W' = W_0 + \Delta W,\qquad \Delta W = \frac{\alpha}{r}\,B A"
SHAPES = r"B\in\mathbb{R}^{d_{out}\times r},\qquad A\in\mathbb{R}^{r\times d_{in}}"
FORWARD = r"h = W_0\,x + \frac{\alpha}{r}\,B A\,\mathrm{dropout}(x)"
STEPS = (
    ("views/data/page.py", "1 · Data", "Upload a table, or take a sample. Check the target column and the findings."),
    ("views/new_run/page.py", "2 · New run", "Keep the proposal: a small model, a few ranks, zero-shot and full fine-tuning. Launch."),
    ("views/live/page.py", "3 · Live", "Watch accuracy, memory and time. You can close the browser; the runs continue."),
    (
        "views/leaderboard/page.py",
        "4 · Leaderboard",
        "See how the score depends on the rank, then download the adapter from the Adapters page.",
    ),
)
