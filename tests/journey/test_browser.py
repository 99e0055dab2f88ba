"""What only a real browser shows: the server as a person starts it, drawn charts, zoom, reloads, files."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import seeding
from page_steps import PATIENCE_MS, drawn

from tabtune_core.data.datasets import add_dataset
from tabtune_core.store.run_row import ENDED
from tabtune_core.store.runs import RunStore

pytestmark = pytest.mark.browser

MIXED = "name,age,spending,city,joined,bought\n" + "".join(
    f"person {i},{20 + (i * 7) % 50 if i % 9 else ''},{1000 + (i * 137) % 900}.5,{('Rome', 'Oslo', '', 'Lima')[i % 4]},"
    f"2024-0{i % 9 + 1}-11,{'yes' if (i * 7) % 50 + (i * 137) % 900 / 30 > 40 else 'no'}\n"
    for i in range(240)
)
"""Numbers, words, dates and missing values; the target depends on two numbers."""

REFERENCES = ["Linear model", "Gradient boosting", "Constant"]


def y_range(page, name):
    return page.evaluate(
        f'() => document.querySelector(\'[class*="st-key-{name}"] '
        ".js-plotly-plot')._fullLayout.yaxis.range.map(Number)"
    )


ZOOMED = "() => !document.querySelector('[class*=\"st-key-loss_\"] .js-plotly-plot')._fullLayout.yaxis.autorange"

TOGETHER = """() => {
  const charts = [...document.querySelectorAll('.lab-figure')].filter((chart) => chart._fullLayout.xaxis.title.text === 'Training step')
  const ranges = charts.map((chart) => chart._fullLayout.xaxis.range.map((at) => at.toFixed(3)).join())
  return ranges.length > 3 && new Set(ranges).size === 1
}"""
"""True if all charts over steps show the same range."""
HIDDEN = """() => [...document.querySelectorAll('.lab-figure')].every((chart) => chart._fullData
  .filter((line) => (line.legendgroup || line.name) === 'Full fine-tuning').every((line) => line.visible === 'legendonly'))"""
"""True if a run that is hidden by its name beside one chart is hidden in all."""


def all_points(name):
    return f"""document.querySelector('[class*="st-key-{name}"] .js-plotly-plot')._fullData.reduce((sum, trace) => sum + trace.x.length, 0)"""


STEPS = 160
"""So many that runs go on while a page is loaded again, on a fast machine too."""
LINES = """document.querySelector('[class*="st-key-loss_"] .js-plotly-plot')._fullData.length"""


def points(page, name):
    return page.evaluate(
        f"() => document.querySelector('[class*=st-key-{name}] .js-plotly-plot')._fullData.at(-1).x.length"
    )


@pytest.mark.slow
def test_a_chart_grows_with_its_points_and_keeps_its_zoom(serve, page, tmp_path):
    store = RunStore(tmp_path)
    sweep, runs = seeding.queue(store, seeding.sweep_settings(tmp_path, ranks=(2,)))
    store.claim(os.getpid(), None)  # it is running and has no events yet
    page.set_viewport_size({"width": 1440, "height": 1800})
    server = serve()
    page.goto(f"{server}/live?sweep={sweep}")
    page.get_by_text("Not validated yet").first.wait_for()
    runs[0].begin()
    page.locator('[class*="st-key-score_"] .js-plotly-plot .scatterlayer .trace').first.wait_for(state="attached")
    runs[0].end()
    seeding.start(runs[1])
    for step in range(1, 41):
        runs[1].step(step)
        store.beat(runs[1].id)
    page.wait_for_function(
        "() => document.querySelector('[class*=\"st-key-score_\"] .js-plotly-plot')._fullData.some((trace) => "
        "trace.x.length >= 5)"
    )
    runs[1].end()
    seeding.start(runs[2])
    for step in range(1, 21):
        runs[2].step(step)
    page.wait_for_function(f"() => {LINES} === 2 && {all_points('loss_')} >= 60")
    before, seen = y_range(page, "loss_"), points(page, "loss_")

    box = page.locator('[class*="st-key-loss_"] .js-plotly-plot .nsewdrag').bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.3)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.7, steps=8)
    page.mouse.up()
    page.wait_for_function(ZOOMED)
    zoomed = y_range(page, "loss_")
    assert abs(zoomed[1] - zoomed[0]) < 0.7 * abs(before[1] - before[0])

    page.wait_for_function(TOGETHER)
    page.locator('[class*="st-key-score_"] .annotation', has_text="Full fine-tuning").click()
    page.wait_for_function(HIDDEN)

    page.evaluate("() => { document.querySelector('[class*=\"st-key-loss_\"] .js-plotly-plot').dataset.mark = 'same' }")
    for step in range(21, 31):
        runs[2].step(step)
        store.beat(runs[2].id)
    page.wait_for_function(
        f"() => document.querySelector('[class*=\"st-key-loss_\"] .js-plotly-plot')._fullData.at(-1).x.length > {seen}"
    )
    assert y_range(page, "loss_") == pytest.approx(zoomed)
    assert page.evaluate("() => document.querySelector('[class*=st-key-loss_] .js-plotly-plot').dataset.mark") == "same"

    runs[2].end()
    page.get_by_text("3 of 3 runs have ended.").wait_for()
    check_launch_is_in_view_without_scrolling(server, page)


def test_from_a_file_to_a_downloaded_adapter(serve, page, tmp_path):
    server = serve(worker=True)
    page.set_viewport_size({"width": 1440, "height": 1800})
    page.goto(server)
    page.locator("input[type=file]").set_input_files(
        {"name": "people.csv", "mimeType": "text/csv", "buffer": MIXED.encode()}
    )
    page.wait_for_url(lambda url: "target=bought" in url)
    page.locator(".js-plotly-plot .barlayer .trace").first.wait_for()
    page.get_by_role("button", name="Next: choose a model").click()
    page.get_by_role("button", name="Launch 16 runs").wait_for()
    page.get_by_text("One learning rate for all ranks").click()
    page.locator(".st-key-ranks").get_by_role("button", name="2", exact=True).click()
    page.get_by_text("More settings").click()
    page.get_by_role("radio", name="steps").or_(page.get_by_text("steps", exact=True)).first.click()
    steps = page.get_by_label("Steps", exact=True)
    steps.fill(str(STEPS))
    steps.press("Enter")
    page.get_by_role("button", name="Launch 7 runs").click()

    page.get_by_text("runs have ended").wait_for()
    store = RunStore(tmp_path)
    (sweep,) = store.sweeps()
    assert [run.name for run in store.runs()] == ["Zero-shot", *REFERENCES, "LoRA r=4", "LoRA r=8", "Full fine-tuning"]
    page.locator('[class*="st-key-loss_"] .js-plotly-plot .scatterlayer .trace').first.wait_for()
    seen = page.evaluate(f"() => {all_points('loss_')}")
    assert [run.name for run in store.runs() if run.status not in ENDED]
    page.wait_for_function(f"() => {all_points('loss_')} > {seen}")
    assert [run.name for run in store.runs() if run.status not in ENDED]

    page.reload()
    page.get_by_text("runs have ended").wait_for()
    assert [run.name for run in store.runs() if run.status not in ENDED]
    assert [other.id for other in store.sweeps()] == [sweep.id]

    page.goto("about:blank")  # an open Live page costs more time than the runs
    any(
        all(run.status in ENDED for run in store.runs()) or page.wait_for_timeout(500)
        for _ in range(PATIENCE_MS // 500)
    )
    assert {run.status for run in store.runs()} == {"finished"}
    assert all(run.result.adapter_verified for run in store.runs() if run.settings.strategy == "peft")

    page.goto(f"{server}/leaderboard")
    page.get_by_text("Select runs to compare").first.wait_for()
    with page.expect_download() as found:
        page.get_by_role("button", name="Download the leaderboard (CSV)").click()
    board = pd.read_csv(found.value.path()).set_index("name")
    known = ["place", "trainable_percent", "peak_memory_bytes", "train_seconds", "steps"]
    known += ["validation_accuracy", "test_accuracy"]
    assert board.loc[REFERENCES, ["place", "train_seconds", "test_accuracy"]].notna().all(axis=None)
    board = board.drop(index=REFERENCES)
    assert board[known].notna().all(axis=None)
    assert board.loc["LoRA r=4", ["rank", "alpha", "dropout"]].tolist() == [4, 8, 0.05]
    assert board["steps"].drop("Zero-shot").between(40, STEPS).all(), "training may end early"

    page.get_by_role("link", name="Compare", exact=True).click()
    page.locator(".js-plotly-plot .scatterlayer .trace").first.wait_for(state="attached")
    page.get_by_role("tab", name="Rank").click()
    page.get_by_role("button", name="Compute").first.click()
    page.get_by_text("of the update lies in rank").wait_for()

    page.get_by_role("link", name="Adapters", exact=True).click()
    with page.expect_download() as found:
        page.get_by_role("button", name="Download the adapter").click()
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(found.value.path(), tmp_path / "elsewhere" / "adapter.zip")
    (tmp_path / "elsewhere" / "people.csv").write_text(MIXED)
    check_loader(tmp_path / "elsewhere", store)


def check_loader(folder, store):
    """The code of the package's README, run in a fresh process, reproduces the run's labels and probabilities."""
    with zipfile.ZipFile(folder / "adapter.zip") as package:
        code = package.read("README.md").decode().split("```python\n")[1].split("```")[0]
        rank = json.loads(package.read("tabtune.json"))["settings"]["lora"]["rank"]
    code += (
        "import json; print(json.dumps([list(model.predict(test, context=context)), model.predict_proba(test, "
        "context=context).tolist()]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    labels, probabilities = json.loads(done.stdout.splitlines()[-1])
    run = next(run for run in store.runs() if run.name == f"LoRA r={rank}")
    saved = pd.read_parquet(store.run_dir(run.id) / "predictions.parquet").query("split == 'test'")
    assert labels == saved["predicted"].tolist()
    np.testing.assert_allclose(probabilities, saved[["prob_0", "prob_1"]], atol=1e-6)


def check_launch_is_in_view_without_scrolling(server, page):
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{server}/new_run")
    for width, height in ((390, 844), (1366, 768)):  # a phone, a laptop
        page.set_viewport_size({"width": width, "height": height})
        button = page.get_by_role("button", name="Launch 16 runs")
        button.wait_for()
        drawn(page)
        box = button.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["y"] + box["height"] <= height


SCALED = """
import numpy as np
from dashboard import start as dashboard, queries

ranked = queries.ranked

def scaled(sweep, metric, **more):
    board = ranked(sweep, metric, **more)
    powers = [10.0 ** np.random.default_rng(list(name.encode())).uniform(-9, 12) for name in board["sweep"]]
    scores = [name for name in board if name.endswith((metric, "gain", "half_width"))]
    return board.assign(**board[scores].mul(powers, axis=0), target=board["sweep"])

queries.ranked = scaled
dashboard.main()
"""
"""Scores of every sweep in a unit of its own."""

CUT = """
window.written = []
const { rect, fillText } = CanvasRenderingContext2D.prototype
CanvasRenderingContext2D.prototype.rect = function (left, ...rest) {
  this.left = left
  return rect.call(this, left, ...rest)
}
CanvasRenderingContext2D.prototype.fillText = function (text, x, ...rest) {
  if (this.textAlign === 'right') written.push([text, x - this.measureText(text).width < this.left])
  return fillText.call(this, text, x, ...rest)
}
"""
"""Notes each number that a table draws, and whether its first digits lie outside its cell."""


def check_numbers(page, address):
    """Returns the numbers that the tables of a page show; none may be cut."""
    page.goto(address)
    page.get_by_test_id("stDataFrame").first.wait_for()
    drawn(page)
    page.wait_for_function("() => written.length > 20")
    found = page.evaluate("() => written")
    assert {text for text, cut in found if cut} == set()
    return {float(text.replace(",", "").removeprefix("± ")) for text, _ in found if text}


@pytest.mark.slow
def test_no_number_in_a_table_loses_its_first_digits(serve, page, tmp_path):
    store = RunStore(tmp_path)
    sweeps = seeding.many_runs(store, sweeps=6, per_sweep=4, looks=0, task="regression")
    wide = pd.DataFrame({f"column {i}": np.arange(60) % 7 + 0.5 for i in range(30)})
    wide.loc[30, "column 0"] = 239_659_173_358.25
    table = add_dataset(tmp_path, wide.to_csv(index=False).encode(), "wide.csv").id
    server = serve(program=SCALED)
    page.add_init_script(CUT)
    page.set_viewport_size({"width": 1440, "height": 2200})
    every = check_numbers(page, f"{server}/leaderboard?board=all&metric=rmse")
    assert len({int(np.log10(abs(number))) for number in every if number}) > 6
    for sweep in sweeps[:3]:
        assert check_numbers(page, f"{server}/leaderboard?board={sweep}&metric=rmse") & every
    page.goto(f"{server}/?table={table}")
    page.get_by_role("tab", name="First rows").click()
    page.wait_for_function("() => written.some(([text]) => text === '0.5')")
    page.evaluate("() => { written.length = 0 }")
    page.get_by_test_id("stDataFrame").last.hover()
    page.mouse.wheel(0, 800)
    page.wait_for_function("() => written.some(([text]) => text === '239,659,173,358.25')")
    assert not page.evaluate("() => written.filter(([text, cut]) => cut)")


SCRIPTS = sorted((Path(__file__).parents[2] / "dashboard").rglob("*.js"))
IMPORTED = """async (source) => {
  const part = await import(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })))
  return [Object.keys(part), part.default.length]
}"""


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
