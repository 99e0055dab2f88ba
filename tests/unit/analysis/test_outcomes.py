"""The possible outcomes of a sweep and their full texts, which stand in outcomes.md beside this file for people to
read.
"""

from pathlib import Path

import pytest
from made_sweeps import Lab

TEXTS = dict(
    part.split("\n", 1)
    for part in Path(__file__).with_name("outcomes.md").read_text(encoding="utf-8").removeprefix("## ").split("\n## ")
)
ZERO = ("inference", (0.7,), range(14), range(14))
BETTER = (4, (0.95,), range(19), range(14))
OUTCOMES = {
    "Gain": [ZERO, (2, (0.9,), range(18), range(14)), BETTER, ("linear", (0.6,), range(12))],
    "No gain on validation": [ZERO, (2, (0.65,), range(13), range(14)), (4, (0.7,), range(14), range(14))],
    "Not beyond noise": [ZERO, (2, (0.7,), range(14), range(14)), (4, (0.75,), range(3, 18), range(14))],
    "Full fine-tuning ahead": [ZERO, (4, (0.75,), range(15), range(14)), ("base-ft", (1.0,), range(20), range(14))],
    "Harm on the test rows": [ZERO, (2, (0.7,), range(14), range(14)), (4, (0.75,), range(4), range(14))],
    "A reference ahead": [("inference", (0.5,), range(10)), (4, (0.7,), range(14)), ("boosting", (1.0,), range(20))],
    "Stopped before its end": [ZERO, (2, (0.9,), range(18), range(14)), (8, (0.95,), range(19), range(14))],
    "All stopped before their end": [ZERO, (8, (0.95,), range(19), range(14)), ("linear", (0.6,), range(12))],
    "One seed, and a gain that may be luck": [ZERO, (4, (0.9,), range(18), range(14))],
}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_the_text_of_each_outcome_is_the_recorded_one(outcome, tmp_path):
    answer = Lab(tmp_path).add(*OUTCOMES[outcome], zero_shot=OUTCOMES[outcome][0][1][0], stopped=(8,)).answer()
    assert "\n\n".join((*answer.sentences, answer.basis)) == TEXTS[outcome].strip()
