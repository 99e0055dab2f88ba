"""No text says a gain but through the functions that need its interval; and what a claimed gain is worth."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

import dashboard
import tabtune_core
from tabtune_core.analysis import gains
from tabtune_core.analysis.gains import corrected
from tabtune_core.analysis.replicates import Difference

OF_A_GAIN = re.compile(r"\b(improv|worsen|better|worse|gain|brings?|ahead|behind|beats?)")
DIFFERENCES = re.compile(r"gain|differ|better_by|ahead|gap|effect|improve|found\.(value|low|high|half)")


def texts_with_numbers(path):
    """Every formatted text whose words are of a gain, and in which a difference is written as a number."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            words = "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
            numbers = [part for part in node.values if isinstance(part, ast.FormattedValue) and part.format_spec is not None]
            if OF_A_GAIN.search(words) and any(DIFFERENCES.search(ast.unparse(part.value)) for part in numbers):
                yield f"{path.name}:{node.lineno} {words}"


def test_a_gain_is_written_in_one_place():
    folders = [Path(package.__file__).parent for package in (tabtune_core, dashboard)]
    files = [path for folder in folders for path in folder.rglob("*.py") if path != Path(gains.__file__)]
    assert [text for path in files for text in texts_with_numbers(path)] == []
    assert list(texts_with_numbers(Path(gains.__file__))), "what is looked for is found where it may be"


@pytest.mark.parametrize("true", [1.1, 2.0, 3.0])
def test_a_claimed_gain_is_corrected_to_about_its_true_size(true):
    found = [Difference(z, 1.0, 1000) for z in np.random.default_rng(0).normal(true, size=2000)]
    claimed = [one for one in found if one.low > 0]
    assert np.mean([corrected(one) for one in claimed]) == pytest.approx(true, rel=0.25)
    assert np.mean([one.value for one in claimed]) > true
    assert corrected(Difference(6.0, 1.0, 1000)) == pytest.approx(6.0, abs=0.01)
