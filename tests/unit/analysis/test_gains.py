"""Every text that states a gain uses the functions that require its interval; and claimed gains are corrected."""

import ast
import re
from pathlib import Path

import pytest

import dashboard
import tabtune_core
from tabtune_core.analysis import gains
from tabtune_core.analysis.jackknife import Difference
from tabtune_core.metrics import METRICS

OF_A_GAIN = re.compile(r"\b(improv\w*|worsen\w*|better|worse|gains?|brings?|ahead|behind|beats?|leads?|differences?)\b")
A_NUMBER = re.compile(r"\{[^{}]*:[^{}]*(\{\w+\})?[fg%]\}|%\{|%[+\-]?\d*\.\d*[fg]|\{(\w+\.)*(text|score)\(")
"""A placeholder in a text that is filled later (``str.format``, ``%``, a chart's hover), or in the source of an
f-string.
"""
OF_OTHERS = re.compile(r"prediction|MB|package|one rate|noise is not known")
"""Differences of quantities other than scores, and texts that say themselves that the noise is not known."""


def texts_with_numbers(path):
    """Yields every text about a gain that holds a score as a number: f-strings and texts that are filled in later."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parts = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in ast.walk(node)
        if part is not node
    }
    texts = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr) or isinstance(getattr(node, "value", None), str)
    ]
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in texts:
        written = ast.unparse(node)
        words = re.sub(r"\{[^{}]*\}", "", written)
        if (
            id(node) not in parts | docstrings
            and OF_A_GAIN.search(words)
            and A_NUMBER.search(written)
            and not OF_OTHERS.search(words)
        ):
            yield f"{path.name}:{node.lineno} {written}"


def test_a_gain_is_written_in_one_place():
    folders = [Path(package.__file__).parent for package in (tabtune_core, dashboard)]
    files = [path for folder in folders for path in folder.rglob("*.py") if path != Path(gains.__file__)]
    assert [text for path in files for text in texts_with_numbers(path)] == []


@pytest.mark.parametrize("text", ['f"a gain of {metric.text(delta)}"', '"better by {:.3f}".format(delta)'])
def test_the_search_finds_a_gain_however_it_is_written(tmp_path, text):
    (tmp_path / "page.py").write_text(f"said = {text}")
    assert len(list(texts_with_numbers(tmp_path / "page.py"))) == 1


@pytest.mark.parametrize(("value", "error"), [(0.0106, 0.0054), (5e-05, 1e-7), (2e-7, 1e-3), (0.3, 20.0)])
def test_the_numbers_of_one_sentence_have_equally_many_decimals(value, error):
    for metric in (METRICS["log_loss"], METRICS["accuracy"], METRICS["rmse"]):
        interval = gains.gain_over_zero_shot(Difference(value, error, 100), metric, size=0.3, part="test")
        for said in (interval.replace("95 %", ""), gains.amount(value, error, metric, 0.3, signed=True)):
            numbers = re.findall(r"\d[\d,]*\.?\d*(?:e[+-]\d+)?", said)
            assert len(numbers) > 1
            assert all(float(one.replace(",", "")) for one in numbers), said
            assert len({"a power of ten" if "e" in one else len(one.partition(".")[2]) for one in numbers}) == 1, said
