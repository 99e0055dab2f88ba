"""Every registered chart can be drawn from its example and from an empty frame, and names its axes with units."""

import json

import plotly.io as pio
import pytest
from chart_examples import EXAMPLES, HARD

from tabtune_core.charts import CHARTS, NAMES
from tabtune_core.charts.picture import picture
from tabtune_core.charts.style import MOST_LABELS
from tabtune_core.metrics import METRICS

UNITS = (
    *("(s)", "(MB)", "(nats)", "(share)", "(per step)", "(%)", "(unit of the target)"),
    *("step", "rank", "Rank", "norm", "Phase", "Run", "Rows", "Context rows", "Class", "class", "Column"),
)
HOSTILE = "<b>x</b><a href='http://x.example'>y</a> &lt; %{x} <br>"


def hostile(frame):
    """Replaces the frame's texts by hostile names that a file could contain."""
    names = [n for n in NAMES if n in frame and frame[n].dtype.kind not in "iuf"]
    return frame.assign(**{n: frame[n].astype(str) + HOSTILE for n in names})


@pytest.mark.parametrize("name", CHARTS)
def test_a_name_is_never_markup(name):
    example = EXAMPLES[name]()
    drawn = json.loads(pio.to_json(CHARTS[name].draw(hostile(example)), validate=False))
    texts = [text for text in every_text(drawn) if "x.example" in text]
    assert not any(part in text for text in texts for part in ("<b>", "</b>", "<a", "</a>", "&lt;", " %{x} "))
    assert texts or name in UNNAMED


UNNAMED = ("rank_curve", "target_values", "truncation")
"""Charts that show no name from a file or a person."""


def every_text(values):
    if isinstance(values, str):
        yield values
    elif isinstance(values, dict | list):
        for value in values.values() if isinstance(values, dict) else values:
            yield from every_text(value)


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_draws_its_example_and_its_axes_name_their_units(name):
    figure = CHARTS[name].draw(EXAMPLES[name]())
    assert len(figure.data) >= 1
    assert all(len(trace.x) > 0 for trace in figure.data)
    for axis in (figure.layout.xaxis, figure.layout.yaxis):
        assert any(unit in axis.title.text for unit in UNITS), axis.title.text


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_without_rows_says_so(name):
    figure = CHARTS[name].draw(EXAMPLES[name]().iloc[:0])
    assert len(figure.data) == 0
    assert figure.layout.annotations[0].text
    assert figure.layout.plot_bgcolor == figure.layout.paper_bgcolor == "rgba(0,0,0,0)", (
        "the page's own background, light or dark"
    )


@pytest.mark.parametrize("name", ["score", "pareto", "rank_curve", "truncation"])
@pytest.mark.parametrize("metric", ["rmse", "r2"])
def test_regression_scores_are_drawn_in_their_unit(name, metric):
    figure = CHARTS[name].draw(EXAMPLES[name](), metric=metric)
    assert METRICS[metric].unit in figure.layout.yaxis.title.text
    digits = {"rmse": ",.1f" if name == "score" else ",.0f", "r2": ",.4f"}[
        metric
    ]  # five digits of the lowest score, here 5,432
    assert all(digits in trace.hovertemplate for trace in figure.data if trace.hovertemplate)


@pytest.mark.parametrize("name", ["score", "loss", "memory"])
def test_a_run_looks_the_same_with_and_without_other_runs(name):
    example = EXAMPLES[name]()
    alone = CHARTS[name].draw(example[example["run"] == "LoRA r=8"])
    together = CHARTS[name].draw(example)
    same = next(trace for trace in together.data if trace.name == "LoRA r=8")
    assert alone.data[0].line.color == same.line.color
    assert alone.data[0].line.dash == same.line.dash


@pytest.mark.parametrize("name", ["score", "loss", "memory", "pareto", "rank_curve"])
@pytest.mark.parametrize("hard", HARD)
def test_hard_input_is_drawn_within_a_finite_range(name, hard):
    frame = HARD[hard](EXAMPLES[name]())
    options = {"metric": "log_loss"} if name == "score" else {}
    drawn = json.loads(pio.to_json(CHARTS[name].draw(frame, **options), validate=False))
    if not drawn["data"]:
        assert drawn["layout"]["annotations"][0]["text"]
        return
    low, high = drawn["layout"]["yaxis"]["range"]
    assert low < high
    if hard == "one a hundred times worse" and name != "memory":
        assert high < 5, "the others would be one flat line"
    named = [note["text"] for note in drawn["layout"]["annotations"] if note.get("captureevents")]
    assert len(named) <= MOST_LABELS
    assert all(len(text) < 80 for text in named)


@pytest.mark.parametrize("hard", HARD)
@pytest.mark.parametrize(("kind", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_a_picture_to_share_is_made_of_hard_input(hard, kind, start):
    texts = {"title": "Take LoRA $r_2$ " * 20, "text": "x" * 300, "about": "<b>&"}
    assert picture(HARD[hard](EXAMPLES["rank_curve"]()), "log_loss", kind, **texts).startswith(start)
