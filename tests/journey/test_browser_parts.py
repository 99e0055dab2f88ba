"""The scripts that run in the browser, each a module next to the Python file that mounts it."""

from pathlib import Path

import pytest

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
