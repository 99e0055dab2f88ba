"""What fits: no line promises more than the memory; and the number of context rows when none is given."""

import dataclasses

import pytest

from tabtune_core.cli.main import main
from tabtune_core.data.splits import SplitSizes
from tabtune_core.errors import TargetError
from tabtune_core.machine import TIGHT
from tabtune_core.settings import RunSettings, TrainSettings
from tabtune_core.training.memory.estimate import ALWAYS, LEAST, MOST, with_shown_rows
from tabtune_core.training.memory.what_fits import AS_SET, LEAST_ROWS, LEVERS, TOGETHER, what_fits

SPLIT = SplitSizes(60_000, 20_000, 20_000)
EVERY_LEVER = {name: value for change in LEVERS.values() for name, value in change.items()}


def fits(gigabytes, model="tabicl-v2", split=SPLIT, on_gpu=True, **changes):
    run = RunSettings(dataset="d", target="y", model=model).changed(**changes)
    return what_fits(run, split, features=12, classes=2, memory_bytes=gigabytes * 1e9, on_gpu=on_gpu)


def used(lever, gigabytes, **changes):
    lever_settings = {AS_SET: {}, **LEVERS, TOGETHER: EVERY_LEVER}[lever]
    return fits(gigabytes, **lever_settings, **changes).lines[0].used_bytes


def test_the_most_rows_fit_and_one_more_does_not():
    found = fits(8)
    for lever, rows in ((line.settings, line.context_rows) for line in found.lines):
        assert LEAST_ROWS < rows <= found.most_rows
        assert used(lever, 8, context_rows=rows) <= TIGHT * 8e9
        assert rows == found.most_rows or used(lever, 8, context_rows=rows + 1) > TIGHT * 8e9
    assert found.lines[0].context_rows < found.most_rows


def test_the_largest_rank_fits_and_one_more_does_not():
    rows = fits(3).lines[0].context_rows
    rank = fits(3, context_rows=rows, rank=1).lines[0].rank
    assert 8 <= rank < 512
    assert used(AS_SET, 3, context_rows=rows, rank=rank) <= TIGHT * 3e9
    assert used(AS_SET, 3, context_rows=rows, rank=rank + 1) > TIGHT * 3e9


def test_each_lever_needs_less_and_admits_more_rows():
    first, *levers = fits(8).lines
    assert [line.settings for line in levers] == [*LEVERS, TOGETHER]
    assert all(line.needed_bytes < first.needed_bytes and line.context_rows > first.context_rows for line in levers)
    assert all(line.needed_bytes < line.used_bytes for line in (first, *levers))


def test_a_lever_that_changes_nothing_is_not_named():
    assert [line.settings for line in fits(8, on_gpu=False).lines] == [AS_SET, *[*LEVERS][:2], TOGETHER]
    assert [line.settings for line in fits(24, "mitra-v2").lines] == [AS_SET, *[*LEVERS][1:], TOGETHER]
    full = fits(24, strategy="base-ft").lines
    assert [line.settings for line in full] == [AS_SET, *[*LEVERS][::2], TOGETHER] and full[0].rank is None


def test_nothing_fits_where_the_weights_alone_are_too_large():
    assert all(line.context_rows is None and line.rank is None for line in fits(0.3).lines)


def test_a_small_table_is_the_limit():
    split = SplitSizes(640, 160, 200)
    small = fits(80, "tabicl-mini", split, on_gpu=False)
    assert {line.context_rows for line in small.lines} == {small.most_rows} == {480}


def test_the_command_prints_what_fits_and_bad_input_is_one_sentence(tmp_path, capsys):
    table = tmp_path / "x.csv"
    table.write_text("a,b,y\n" + "".join(f"{row},{row % 7},{'no' if row % 3 else 'yes'}\n" for row in range(200)))
    asked = ["fits", str(table), "--target", "y", "--home", str(tmp_path / "home")]
    assert main([*asked, "--memory", "24", "--format", "csv"]) == 0
    head, first, *_ = capsys.readouterr().out.splitlines()
    assert head.split(",")[-1] == "largest_rank" and first.startswith("as set,0.0") and first.endswith(",90,128")
    assert main([*asked, "--strategy", "inference"]) == 2
    assert "'inference' trains nothing" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*asked, "--memory", "lots"])
    assert "--memory: invalid float value: 'lots'" in capsys.readouterr().err
    with pytest.raises(TargetError):
        fits(24, rank_pattern={"nowhere": 4})


RUN = RunSettings(dataset="d", target="y")
PLENTY = 10**15


def shown(model="tabicl-mini", *, features=16, memory_bytes=PLENTY, on_gpu=False, **train):
    settings = dataclasses.replace(RUN, model=model, train=TrainSettings(**train))
    return with_shown_rows(
        settings, features=features, memory_bytes=memory_bytes, on_gpu=on_gpu
    ).train.predict_context_rows


@pytest.mark.parametrize(
    ("model", "rows"), [("tabicl-mini", 8192), ("tabdpt-mini", 8192), ("mitra-mini", 4096), ("tabicl-v2", 2048)]
)
def test_on_a_cpu_time_limits_the_rows(model, rows):
    assert shown(model) == rows


def test_a_requested_number_is_kept_and_a_slow_model_still_gets_the_default_rows():
    assert shown(predict_context_rows=300_000, memory_bytes=1) == 300_000
    assert shown("mitra-v2", features=400) == ALWAYS


def test_a_gpu_gets_more_rows_up_to_the_models_limit():
    assert shown("tabicl-v2", on_gpu=True) > 10 * shown("tabicl-v2")
    assert shown("mitra-mini", features=2, on_gpu=True) == 10_000


def test_less_memory_gives_fewer_rows_but_never_none():
    numbers = [shown(features=200, memory_bytes=gigabytes * 10**9) for gigabytes in (1, 2, 4, 8)]
    assert numbers == sorted(numbers)
    assert numbers[0] < numbers[-1]
    assert shown(memory_bytes=1) == LEAST < MOST
