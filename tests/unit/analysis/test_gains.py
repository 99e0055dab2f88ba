"""Texts that state a gain need its interval; nothing but the numbers depends on the target's unit."""

import ast
import re
from functools import partial
from pathlib import Path

import pytest
from random_sweeps import regression_sweep

import dashboard
import tabtune_core
from tabtune_core.analysis import gains
from tabtune_core.analysis.comparison import half_widths, with_half_widths
from tabtune_core.analysis.jackknife import Difference
from tabtune_core.analysis.recommendation import recommend
from tabtune_core.analysis.runs_table import leaderboard
from tabtune_core.cli.terminal import table
from tabtune_core.metrics import METRICS
from tabtune_core.store.predictions import read_predictions
from tabtune_core.store.runs import RunStore

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
    parts = {id(p) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for p in ast.walk(n) if p is not n}
    texts = [n for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) or isinstance(getattr(n, "value", None), str)]
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


NUMBER = re.compile(r"(?<![\w=.])[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]\d+)?(?!\w)")


def outcome(home, seed, unit, metric):
    store = RunStore(home)
    own = partial(half_widths, metric=METRICS[metric], load=partial(read_predictions, store))
    board = with_half_widths(leaderboard(store.runs(regression_sweep(store, seed, unit)), metric), own)
    answer = recommend(store, board, metric)
    text = " ".join((*answer.sentences, answer.basis))
    chosen = (answer.claim.verdict, board["place"].tolist(), table(board, metric))
    return text, answer.configurations["tied"].tolist(), *chosen


@pytest.mark.parametrize("seed", range(2))
def test_the_unit_of_the_target_changes_no_verdict_ranking_or_advice(tmp_path, seed):
    metric = ("rmse", "mae")[seed % 2]
    text, *expected, shown = outcome(tmp_path / "1", seed, 1.0, metric)
    for power in (-100, 7):
        other, *own, other_shown = outcome(tmp_path / str(power), seed, 10.0**power, metric)
        assert own == expected
        assert NUMBER.sub("#", other) == NUMBER.sub("#", text)
        for own, of_other in ((text, other), (shown, other_shown)):
            numbers = [[float(one.replace(",", "")) for one in NUMBER.findall(words)] for words in (own, of_other)]
            assert [one == 0 for one in numbers[0]] == [one == 0 for one in numbers[1]]


@pytest.mark.parametrize("power", range(-12, -3))
def test_a_difference_that_is_not_0_is_not_written_as_0(power):
    gain, metric = 1.234 * 10.0**power, METRICS["log_loss"]
    assert metric.text(0.3, gain) != metric.text(0.3 + gain, gain)
    assert float(metric.like(gain, 0.3, gain)) == pytest.approx(gain, rel=0.1)
    assert float(metric.like(gain, 0.3)) == pytest.approx(gain, rel=0.2)


def test_one_run_that_explodes_hides_no_digit_of_the_others(tmp_path):
    store = RunStore(tmp_path)
    board = leaderboard(store.runs(regression_sweep(store, 1)), "rmse").assign(test_gain_half_width=0.05)
    board.loc[board["strategy"] == "linear", ["validation_rmse", "test_rmse"]] = 314_395_696.0
    name, score, gain = board.loc[board["strategy"] == "peft", ["name", "validation_rmse", "test_gain"]].iloc[0]
    line = next(line for line in table(board, "rmse").splitlines() if name in line)
    assert f" {METRICS['rmse'].text(score)} " in line and f" {METRICS['rmse'].like(gain, score, signed=True)} " in line


def test_too_few_validation_rows_are_not_called_missing_predictions(tmp_path):
    store = RunStore(tmp_path)
    board = leaderboard(store.runs(regression_sweep(store, 1, validation_rows=25)), "rmse")
    assert "Too few rows give no interval." in recommend(store, board, "rmse").basis
