"""The Data page asks how to split, New run takes the answer, and impossible splits are refused there."""

import json

import numpy as np
import pytest
from page_steps import texts
from streamlit.testing.v1 import AppTest

from tabtune_core.data.datasets import add_dataset
from tabtune_core.settings import SweepSettings

DRAW = np.random.default_rng(0)
ORDERS = "day,customer_id,city,amount,returned\n" + "".join(
    f"2024-{i // 20 + 1:02}-{i % 20 + 1:02},{1000 + DRAW.integers(60)},{'Rome' if i % 2 else 'Oslo'},{DRAW.normal():.9f},"
    f"{'yes' if i % 12 == 0 else 'no'}\n"
    for i in range(240)
)


@pytest.fixture
def orders(home):
    return add_dataset(home, ORDERS.encode(), "orders.csv").id


def said(elements):
    return texts(elements).replace("\\", "")


def launch(page: AppTest):
    return next(found for found in page.button if found.label.startswith("Launch"))


def new_run(app: AppTest, split: str = "at random") -> AppTest:
    """The page, opened in a new tab at an address with this split."""
    app.query_params.update({"split": split, "target": "returned"})
    return app.run().switch_page("views/new_run/page.py").run()


def settings_of(page: AppTest) -> SweepSettings:
    return SweepSettings.from_toml(page.code[0].value)


def test_the_answer_on_the_data_page_is_the_split_of_new_run(app, store, orders):
    app.query_params["target"] = "returned"
    app.run()
    asked = app.radio(key="chosen_split")
    assert [option.replace("\\", "") for option in asked.options] == [
        "at random",
        "by time: day",
        "by group: customer_id",
    ]
    assert "scores look too good" in said(app.caption)
    asked.set_value("by time: day").run()
    next(found for found in app.button if found.label == "Next: choose a model").click().run()
    app.switch_page("views/new_run/page.py").run()
    assert not app.exception
    assert app.selectbox(key="chosen_split").value == "by time: day"
    assert "Split by time on 'day': trains on 144 rows up to 2024-08-04, validates on 48 rows" in said(app.caption)
    assert (settings_of(app).run.split_by, settings_of(app).run.split_column) == ("time", "day")
    launch(app).click().run()
    assert {(run.settings.split_by, run.settings.split_column) for run in store.runs()} == {("time", "day")}
    assert store.sweeps()[0].name.endswith("; split by time: day")
    another = AppTest.from_file(app._script_path, default_timeout=30).run()  # a tab without query parameters
    assert another.radio(key="chosen_split").value == "by time: day"


def test_the_address_may_set_a_split_that_no_question_offers(app, orders):
    page = new_run(app, "by group: amount")
    assert (settings_of(page).run.split_by, settings_of(page).run.split_column) == ("group", "amount")
    assert "Each row has its own 'amount'" in said(page.caption)


@pytest.mark.parametrize(
    ("split", "told"),
    [
        ("by group: city", "split_column is 'city', which has 2 different values; a split by group needs at least 3"),
        ("by group: nothing", None),
    ],
)
def test_an_impossible_split_cannot_be_launched(app, orders, split, told):
    page = new_run(app, split)
    assert launch(page).disabled == (told is not None)
    assert (told or "") in said(page.error)


def test_a_rare_class_is_named_with_what_to_do_on_both_pages(app, orders):
    app.query_params["target"] = "returned"
    app.run()
    told = "rank by balanced accuracy or average precision, and try class weights 'balanced'"
    assert told in said(app.markdown)
    page = app.switch_page("views/new_run/page.py").run()
    assert told in said(page.caption)
    page = page.switch_page("views/data/page.py").run()
    page.button(key="balance").click().run()
    assert told not in said(page.markdown)
    page = page.switch_page("views/new_run/page.py").run()
    assert settings_of(page).run.selection_metric == "average_precision" and told not in said(page.caption)
    page.selectbox(key="selection_metric").set_value("log_loss").run()
    assert told in said(page.caption)
    assert settings_of(page).run.train.class_weights == "balanced"
    assert "Choose balanced accuracy or average precision" in said(page.markdown)
    page.button(key="balance").click().run()
    assert settings_of(page).run.selection_metric == "average_precision" and told not in said(page.caption)


def test_rare_classes_are_merged_with_one_click_and_separated_again(app, home):
    kinds = "".join(f"{i},{name}\n" for i, name in enumerate([*"xxxxxyyyy"] * 8 + [*"abcd"] * 2))
    add_dataset(home, f"size,kind\n{kinds}".encode(), "kinds.csv")
    app.query_params["target"] = "kind"
    told = "4 classes of 'kind' have fewer than 3 rows"
    assert told in said(app.run().markdown)
    app.button(key="group_rare").click().run()
    assert told not in said(app.markdown)
    page = app.switch_page("views/new_run/page.py").run()
    assert settings_of(page).run.group_rare_classes == 10
    page = page.switch_page("views/data/page.py").run()
    assert told not in said(page.markdown), "the choice is that of both pages"
    page = page.switch_page("views/new_run/page.py").run()
    assert settings_of(page).run.group_rare_classes == 10 and told not in said(page.caption)
    page.button(key="group_rare").click().run()
    assert settings_of(page).run.group_rare_classes == 0 and told in said(page.caption)


def test_settings_as_text_set_their_split(app, orders):
    page = new_run(app)
    text = page.code[0].value.replace('split_by = "random"', 'split_by = "group"\nsplit_column = "customer_id"')
    assert json.dumps("customer_id") in text
    page.text_area(key="pasted_toml").set_value(text).run()
    next(found for found in page.button if found.label == "Fill the form").click().run()
    assert page.selectbox(key="chosen_split").value == "by group: customer_id"
    assert "of split seed 0). Each group is in one part only, and models do not see 'customer_id'" in said(page.caption)


def test_the_address_keeps_no_answer_that_the_shown_table_does_not_ask_for(app, home):
    plain = "a,b,y\n" + "".join(f"{i % 7}.5,{i % 5}.5,{'yes' if i % 3 else 'no'}\n" for i in range(90))
    table = add_dataset(home, plain.encode(), "plain.csv").id
    app.query_params.update({"table": table, "target": "y", "way": "numbers", "split": "by time: when"})
    app.run()
    assert not app.exception
    assert "way" not in app.query_params
    assert "split" not in app.query_params
