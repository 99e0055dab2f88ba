"""A person tries a row of the table on a real adapter, in a real browser, and leaves with the run's own predictions."""

import pandas as pd
import pytest
from made_run import made_run

from tabtune_core.store.runs import RunStore

pytestmark = pytest.mark.browser


def test_a_row_is_predicted_side_by_side_and_downloaded(serve, page, tmp_path):
    store = RunStore(tmp_path)
    run = made_run(store)
    page.goto(f"{serve(worker=True)}/try_it?adapter={run}")
    page.get_by_role("button", name="Predict this row").click()
    download = page.get_by_role("button", name="Download predictions")
    download.wait_for()
    with page.expect_download() as found:
        download.click()
    (told,) = pd.read_csv(found.value.path()).to_dict("records")
    saved = pd.read_parquet(store.run_dir(run) / "predictions.parquet").iloc[0]  # the row that the page proposes
    title = "LoRA r=4 · tabicl-mini"
    assert told[f"{title}: predicted"] == saved["predicted"]
    assert told[f"{title}: probability of keep it"] == pytest.approx(saved["prob_1"], abs=1e-6)
    assert told["Base TabICL mini: probability of keep it"] != pytest.approx(saved["prob_1"], abs=1e-4)
    page.reload()
    page.get_by_role("button", name="Download predictions").wait_for()
    assert page.get_by_text("Traceback").count() == 0
