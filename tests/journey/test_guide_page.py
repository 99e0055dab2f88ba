"""The Guide page: its arithmetic, picture and links, and the user's own figures next to the guide's."""

import re
from pathlib import Path

import pytest
import seeding
from page_steps import button, go, texts

from dashboard.components.glossary import TERMS, define
from dashboard.views.guide.guide_sections import CLAIMS, layer_picture
from tabtune_core.analysis.run_diagnostics import GUIDE
from tabtune_core.data.datasets import add_sample

MEASURED = Path(__file__).parents[2] / "docs" / "pages" / "measurements"


def metrics(app):
    return {metric.label: metric.value for metric in app.metric}


def test_the_guides_layer_has_the_guides_numbers(app):
    go(app, "guide")
    assert not app.exception
    assert metrics(app) == {"Weight": "589,824", "Adapter": "12,288", "Share": "2.1%", "Scaling α/r": "2"}
    assert "**384.0**" in texts(app.markdown)


def test_sizes_and_rank_move_the_numbers(app):
    go(app, "guide")
    app.number_input(key="guide_in").set_value(64)
    app.number_input(key="guide_out").set_value(32)
    app.number_input(key="guide_rank").set_value(40).run()
    assert metrics(app)["Adapter"] == "3,072"
    assert "uses that rank" in texts(app.warning)
    tabicl = next(option for option in app.pills(key="guide_layer").options if option.startswith("TabICL"))
    app.pills(key="guide_layer").set_value(tabicl).run()
    out, width = map(int, re.findall(r"(\d+) × (\d+)", tabicl)[0])
    assert metrics(app)["Weight"] == f"{out * width:,}"


@pytest.mark.parametrize(("key", "value"), [("guide_rank", 0), ("guide_in", 8193), ("guide_alpha", 0.0)])
def test_a_size_out_of_range_is_explained(app, key, value):
    go(app, "guide").number_input(key=key).set_value(value).run()
    assert not app.exception
    assert "Inputs, outputs and rank can be 1 to 8,192, and alpha any number above 0" in texts(app.error)
    assert "Adapter" not in metrics(app)


def test_the_picture_is_to_scale():
    sizes = [
        tuple(map(float, found))
        for found in re.findall(r'width="([\d.]+)" height="([\d.]+)" rx', layer_picture(600, 300, 60))
    ]
    (w_wide, w_tall), (b_wide, b_tall), (a_wide, a_tall) = sizes
    assert w_wide / w_tall == pytest.approx(2)
    assert (b_tall, a_wide) == (w_tall, w_wide)
    assert b_wide == a_tall == pytest.approx(w_wide / 10)


def test_the_quick_reference_marks_the_row_of_the_newest_table(app, home):
    go(app, "guide")
    assert "Yours" not in app.dataframe[0].value
    add_sample(home, "iris")
    go(app, "guide")
    marked = app.dataframe[0].value.set_index("Case")["Yours"]
    assert [case for case, mark in marked.items() if mark] == ["Small data (to 10,000 rows)"]


def test_own_figures_are_shown_next_to_the_guides(app, store):
    go(app, "guide")
    assert "Its figures will appear here" in texts(app.info)
    seeding.finished_sweep(store, ranks=(2, 8))
    go(app, "guide")
    own = app.dataframe[-1].value.set_index("Aspect")
    assert own.loc["Training memory over the model", "Full fine-tuning"] == "97.7 MB"
    assert "r\\=8" in texts(app.markdown)


def test_every_problem_is_in_the_guide_with_what_to_do(app):
    go(app, "guide")
    shown = app.table[0].value
    assert shown.index.tolist() == [row.symptom for row in GUIDE.values()]
    assert (shown != "").all(axis=None)


def test_the_figures_in_the_text_equal_the_measurements():
    told = {topic: found for topic, (_, found, _) in CLAIMS.items()}
    growth = r"grew by (\d+ to \d+) MB with LoRA and by (\d+) MB with full"
    (measured,) = re.findall(growth, " ".join((MEASURED / "index.md").read_text().split()))
    assert [measured] == re.findall(growth, told["Memory"])
    rows = re.findall(
        r"^\| \w+ \([\d,]+\) \| r=(\d+),.*±.*±.*\| (better|no difference|worse) \|",
        (MEASURED / "lora_gain.md").read_text(),
        re.MULTILINE,
    )
    assert f"on {sum(verdict == 'better' for _, verdict in rows)} of {len(rows)} tables" in told["Accuracy"]
    assert f"chose 2 on {sum(rank == '2' for rank, _ in rows)} of them" in told["Accuracy"]


def test_the_glossary_explains_every_linked_term(app):
    assert list(TERMS) == sorted(TERMS, key=str.lower)
    app.query_params["tab"] = "glossary"
    go(app, "guide")
    assert not app.exception
    assert TERMS["Query row"] in texts(app.markdown)
    assert "guide?tab=glossary" in define("Query row")


def test_each_page_explains_its_terms(app):
    for page in ("data", "live", "leaderboard", "compare", "adapters", "try_it"):
        go(app, page)
        assert any("guide?tab=glossary" in (title.proto.help or "") for title in app.title), page


def test_this_machine_is_checked_on_request_and_the_report_can_be_copied(app, monkeypatch):
    def refused(*_, **__):
        raise AssertionError("something was asked of another machine")

    monkeypatch.setattr("socket.getaddrinfo", refused)
    go(app, "guide", tab="machine")
    assert not app.code
    button(app, "Check this machine").click().run()
    assert not app.exception
    assert "Runs can work on this machine." in texts(app.success)
    (copied,) = app.code
    assert "torch" in copied.value and "Workspace" in copied.value


def test_problems_that_stop_runs_are_named_above_the_report(app, monkeypatch):
    monkeypatch.setattr("tabtune_core.execution.doctor.why_nothing_starts", lambda home: "The disk is full.")
    go(app, "guide", tab="machine")
    button(app, "Check this machine").click().run()
    assert "see Workspace" in texts(app.error)
