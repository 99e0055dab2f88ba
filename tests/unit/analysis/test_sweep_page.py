"""The HTML page of a sweep: it escapes names, contacts no other machine, and holds no cell of the table."""

import re
from dataclasses import replace
from html import unescape

import pytest
from made_sweeps import Lab

from tabtune_core.analysis.runs_table import leaderboard
from tabtune_core.analysis.sweep_page import sweep_page
from tabtune_core.charts.picture import picture
from tabtune_core.cli.main import main
from tabtune_core.data.datasets import add_dataset
from tabtune_core.data.findings import ReadingChoices
from tabtune_core.events import Evaluated, MemorySampled, PhaseDone, RunPlanned, StepDone
from tabtune_core.settings import RunSettings, SweepSettings

NAME = "<b>x</b><a href='http://x.example'>y</a><img src=http://x.example>"
CELLS = ("kipper", "Kipper", "914.25 km", "2024-07-31T06:05+02:00", "77123", "n.a.x", "ledger total")


def shown(html):
    """Removes the scripts, including Plotly's, and the picture."""
    return re.sub(r"<script.*?</script>|<img[^>]*src=.data:image/svg[^>]*>", "", html, flags=re.DOTALL)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep on a table where each kind of finding quotes a cell."""
    lab = Lab(tmp_path_factory.mktemp("home"))
    rows = [
        f"{'Kipper' if i % 4 else 'kipper'},{914.25 + i} "
        f"km,2024-07-{i % 28 + 1:02}T06:05+02:00,{i if i % 30 else 77123},{['no', 'yes'][i % 2]}"
        for i in range(120)
    ]
    rows[50] = rows[50].replace(",50,", ",n.a.x,")
    text = "\n".join(["fish,way,seen,amount,y", *rows, ",,,ledger total,no"])
    dataset = add_dataset(lab.store.home, text.encode(), "fish & chips.csv", ReadingChoices())
    assert any(cell in finding.message for finding in (*dataset.findings, *dataset.questions) for cell in CELLS)
    settings = [RunSettings(dataset=dataset.id, target="y", seed=0).with_strategy(way) for way in ("inference", "peft")]
    lab.sweep, ids = lab.store.add_sweep(settings, NAME)
    for run_id, one in zip(ids, settings, strict=True):
        lab.store.append(run_id, StepDone(1, 0.5, 1.0, 1e-3, 0.1))
        lab.store.append(run_id, MemorySampled("train", 10**9))
        lab.store.append(run_id, Evaluated(1, "validation", {"log_loss": 0.5}, True, 0.1))
        lab.end(run_id, one, 0.5 - 0.2 * (one.strategy == "peft"), [range(15)], metric="log_loss")
    lab.store.rename(ids[1], NAME)
    failed = lab.store.duplicate(ids[0], settings[1], "failed")
    lab.store.finish(failed, "failed", error="The cell '914.25 km' is not a number.")
    return lab, dataset


def test_a_sweep_page_has_the_command_to_rerun_it_and_no_cell(swept):
    lab, dataset = swept
    html = sweep_page(lab.store, lab.sweep)
    text = shown(html)
    assert "<img" not in text and "<a " not in text and "&lt;img" in text
    assert "default-src 'none'" in html and not re.search(r"<(script|link|img)[^>]+(src|href)=[\"']?http", html)
    assert html.count('"showSendToCloud": false') == html.count("Plotly.newPlot(") - shown_by_plotly() == 6
    assert "Validation chooses" in text.partition("class=charts")[0]  # the sentence stands before the charts
    assert [cell for cell in CELLS if cell in text] == []
    assert "<td></td>" in text and not re.search(r"<td>(None|nan|&lt;NA&gt;)</td>", text)
    toml = re.search(r"<pre>(dataset|ranks|zero_shot|[a-z_]+ = .*?)</pre>", text, re.DOTALL)
    again = SweepSettings.from_toml(unescape(toml[1]))
    assert again.run.dataset == dataset.id and "sweep &#x27;fish &amp; chips.csv&#x27; --settings sweep.toml" in text


def shown_by_plotly():
    from plotly.offline import get_plotlyjs

    return get_plotlyjs().count("Plotly.newPlot(")


def test_an_archived_run_is_marked_and_left_out_of_the_trade_off(tmp_path, capsys):
    lab = Lab(tmp_path).add((4, (0.9,)), (8, (0.8,)), ("inference", (0.5,)))
    best = next(run for run in lab.store.runs(lab.sweep) if run.settings.lora.rank == 4)
    assert '"LoRA r=4"' in sweep_page(lab.store, lab.sweep, "accuracy").partition("<h2>Validation accuracy")[0]
    lab.store.archive(best.id)
    html = sweep_page(lab.store, lab.sweep, "accuracy")
    assert '"LoRA r=4"' not in html.partition("<h2>Validation accuracy")[0]
    assert "<td>archived</td>" in shown(html)
    assert main(["leaderboard", "--rank-by", "accuracy", "--home", str(tmp_path)]) == 0
    assert next(line for line in capsys.readouterr().out.splitlines() if "r=4" in line).endswith("archived")


def test_memory_and_seconds_are_drawn_of_the_sweeps_own_device_alone(tmp_path):
    lab = Lab(tmp_path).add((2, (0.9,)), (4, (0.9,)), (8, (0.8,)))
    for run in lab.store.runs(lab.sweep):
        plan, on_gpu = lab.store.last_event(run.id, RunPlanned), run.settings.lora.rank < 8
        lab.store.append(run.id, replace(plan, device="cuda:0 (NVIDIA A100)" if on_gpu else "cpu"))
        lab.store.append(run.id, PhaseDone("load", 1.0, {}, None, base_bytes=10**6, device_bytes=None))
        lab.store.append(run.id, MemorySampled("train", 10**9))
        for step in (1, 2):
            lab.store.append(run.id, StepDone(step, 0.5, 0.1, 1e-4, 0.1 * step))
    html = sweep_page(lab.store, lab.sweep, "accuracy")
    assert "Memory and seconds are those of NVIDIA A100: runs on CPU" in html
    drawn = {"Training loss": (2, 4, 8), **dict.fromkeys(("Time per", "Score and memory", "Score and time"), (2, 4))}
    for name, ranks in drawn.items():
        chart = next(one for one in html.split("<h2>") if one.startswith(name))
        assert tuple(rank for rank in (2, 4, 8) if f"LoRA r={rank}" in chart) == ranks


def test_the_picture_holds_the_whole_interval_of_the_gain(tmp_path):
    text = "It needs no training. Gain of LoRA r=16 at one rate over zero-shot on the validation rows: [-0.162, +0.251]"
    runs = leaderboard(Lab(tmp_path).add((2, [0.7])).store.runs(), "accuracy")
    drawn = picture(runs, "accuracy", "svg", title="Take LoRA r=16", text=f"{text} (for 3 comparisons).").decode()
    assert "[-0.162, +0.251]" in drawn and "…" not in drawn
