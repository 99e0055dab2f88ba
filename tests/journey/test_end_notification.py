"""Live is open while a sweep ends: the browser tells whoever asked for it, once, and nobody else."""

import pytest
import seeding

from tabtune_core.store.runs import RunStore

pytestmark = pytest.mark.browser
RECORDER = """const Real = window.Notification; window.told = []
window.Notification = class extends Real { constructor(title, more) { super(title, more); told.push(`${title}: ${more.body}`) } }"""
"""Writes down what the browser's own notification is given, and leaves it alone."""


def going(store, name):
    """A sweep whose only run goes on, in this process."""
    settings = [run for run in seeding.sweep_settings(store.home, ranks=(2,)).expand() if run.strategy == "peft"]
    sweep, (run_id,) = store.add_sweep(settings, name)
    run = seeding.FakeRun(store, settings[0], run_id)
    seeding.start(run)
    return sweep, run


def test_who_asked_is_notified_once_when_the_sweep_has_ended_and_nobody_else_is(serve, page, tmp_path):
    store = RunStore(tmp_path)
    unasked, asked = going(store, "unasked"), going(store, "asked")
    address = serve()
    page.context.grant_permissions(["notifications"], origin=address)
    page.add_init_script(RECORDER)
    for (sweep, run), presses in ((unasked, 0), (asked, 1)):
        page.goto(f"{address}/live?sweep={sweep}")
        page.get_by_text("0 of 1 runs have ended.").wait_for()
        button = page.get_by_role("button", name="Notify me at the end")
        button.wait_for()
        for _ in range(presses):
            button.click()
            page.get_by_role("button", name="✓ Notifies you at the end").wait_for()
        run.end()
        page.get_by_text("1 of 1 runs have ended.").wait_for()
        page.wait_for_timeout(1500)
        assert page.evaluate("told") == ["LoRA Lab: asked has ended: 1 finished."] * presses
