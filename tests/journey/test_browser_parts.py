"""The scripts that run in the browser, each a module beside the Python that mounts it."""

from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[2] / "dashboard").rglob("*.js"))
IMPORTED = """async (source) => {
  const part = await import(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })))
  return [Object.keys(part), part.default.length]
}"""

pytestmark = pytest.mark.browser


def test_every_script_is_a_module_that_exports_the_one_function_that_mounts_it(page):
    assert SCRIPTS
    found = {script.name: page.evaluate(IMPORTED, script.read_text()) for script in SCRIPTS}
    assert all(part == [["default"], 1] for part in found.values()), found


def test_a_script_that_does_not_parse_is_seen(page):
    broken = page.evaluate(f"(source) => ({IMPORTED})(source).catch((error) => error.name)", SCRIPTS[0].read_text() + "\nconst = 1")
    assert broken == "SyntaxError"
