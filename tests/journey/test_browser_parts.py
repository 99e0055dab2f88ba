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


def test_a_script_with_a_syntax_error_is_detected(page):
    broken = page.evaluate(f"(source) => ({IMPORTED})(source).catch((error) => error.name)", SCRIPTS[0].read_text() + "\nconst = 1")
    assert broken == "SyntaxError"
