"""The scripts that run in the browser, each a module next to the Python file that mounts it."""

from pathlib import Path

import pandas as pd
import pytest

from tabtune_core.analysis.html_report import page as report

SCRIPTS = sorted((Path(__file__).parents[2] / "dashboard").rglob("*.js"))
IMPORTED = """async (source) => {
  const part = await import(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })))
  return [Object.keys(part), part.default.length]
}"""

pytestmark = pytest.mark.browser


def test_every_script_exports_only_the_function_that_mounts_it(page):
    assert SCRIPTS
    found = {script.name: page.evaluate(IMPORTED, script.read_text()) for script in SCRIPTS}
    assert all(part == [["default"], 1] for part in found.values()), found


def test_a_script_with_a_syntax_error_is_detected(page):
    broken = page.evaluate(
        f"(source) => ({IMPORTED})(source).catch((error) => error.name)", SCRIPTS[0].read_text() + "\nconst = 1"
    )
    assert broken == "SyntaxError"


MOUNTED = """async (source) => {
  const part = await import(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })))
  const data = { source: 'http://lab/plotly.js', label: 'Loss', name: 'loss', stamp: 1, figure: '{"data": [], "layout": {}}', config: {} }
  part.default({ data, parentElement: document.body })
}"""
LIBRARY = "window.Plotly = { react: async (element) => { element.append('drawn'); element.on = () => {} } }"


def test_a_chart_is_drawn_once_its_library_can_be_loaded_again(page):
    answers = iter(
        [lambda route: route.abort(), lambda route: route.fulfill(body=LIBRARY, content_type="text/javascript")]
    )
    page.route("http://lab/plotly.js", lambda route: next(answers)(route))
    page.set_content('<div class="lab-part"></div>')
    page.evaluate(MOUNTED, next(script for script in SCRIPTS if script.name == "plotly_chart.js").read_text())
    page.get_by_text("The chart library did not load. It is tried again every 3 seconds.").wait_for()
    page.get_by_text("drawn", exact=True).wait_for()


CHARTS = """() => [...document.querySelectorAll('.chart')].map((cell) => [cell, cell.querySelector('.main-svg')]
  .map((part) => Math.round(part.getBoundingClientRect().width)))"""


@pytest.mark.parametrize("width", [1400, 1000, 420])
def test_every_chart_of_the_html_report_is_as_wide_as_its_cell_without_a_resize(page, tmp_path, width):
    row = {
        "name": "r=4",
        "strategy": "peft",
        "rank": 4,
        "note": "",
        "growth_memory_bytes": 1e6,
        "run_growth_memory_bytes": 1e6,
    }
    board = pd.DataFrame([row | {"validation_log_loss": 0.5, "train_seconds": 3.0, "adapter_bytes": 9.0}])
    (tmp_path / "report.html").write_text(report(board, "log_loss"), encoding="utf-8")
    page.set_viewport_size({"width": width, "height": 900})
    page.goto((tmp_path / "report.html").as_uri(), wait_until="load")
    charts = page.evaluate(CHARTS)
    assert len(charts) == 2
    assert all(cell == chart <= width for cell, chart in charts), charts
