"""Actions of people on the pages, in a headless Chromium, each in its own tab; see ``actions``."""

import contextlib
import os
import random
import re
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

from page_steps import drawn
from playwright.sync_api import Browser, Page, TimeoutError, sync_playwright

from soaking.actions import COMMAND_TABLE, action, ended
from soaking.lab import patience
from soaking.tables import broken_adapter, broken_table, good_table
from tabtune_core.data.datasets import list_datasets
from tabtune_core.errors import StoreError
from tabtune_core.store.run_folder import ADAPTER_FILE

if TYPE_CHECKING:
    from soaking.rounds import Round

PAGES = ("", "new_run", "live", "leaderboard", "compare", "adapters", "try_it", "guide")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
)


class Chromium:
    """A browser, restarted every ``TABS`` tabs, since its own growth is not tested."""

    TABS = 60

    def __init__(self) -> None:
        self._path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
        if self._path is None:
            raise RuntimeError("There is no Chromium; install one or name it with the environment variable CHROMIUM.")
        self._playwright = sync_playwright().start()
        self._browser: Browser | None = None
        self._tabs = 0

    def page(self) -> Page:
        """A tab without any stored state."""
        if self._browser is None or self._tabs % self.TABS == 0:
            if self._browser is not None:
                self._browser.close()
            self._browser = self._playwright.chromium.launch(executable_path=self._path, args=list(FLAGS))
        self._tabs += 1
        page = self._browser.new_context(viewport={"width": 1440, "height": 1400}).new_page()
        page.set_default_timeout(1000 * patience(20))
        return page

    def close(self) -> None:
        """Ends the browser and its driver."""
        if self._browser is not None:
            self._browser.close()
        self._playwright.stop()


@contextlib.contextmanager
def tab(round_: "Round") -> Iterator[Page]:
    """A tab whose errors fail the round, unless a process was ended meanwhile."""
    page, said = round_.chromium.page(), list[str]()
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on(
        "console",
        lambda message: (
            said.append(message.text) if message.type == "error" and "load resource" not in message.text else None
        ),
    )
    # a page opened by its address first asks for the server's health below that address
    page.on(
        "response",
        lambda response: (
            said.append(f"{response.status} {response.url}")
            if response.status >= 400 and "/_stcore/h" not in response.url
            else None
        ),
    )
    try:
        yield page
        look(round_, page)
    finally:
        address = page.url
        page.context.close()
    for text in said if not round_.lab.disturbed else ():
        round_.fail("console", f"{address}: {text[:300]}")


def look(round_: "Round", page: Page) -> None:
    """Waits until the page is drawn; an error box is a failure."""
    drawn(page)
    for box in page.get_by_test_id("stException").all():
        round_.fail("page error", f"{page.url}: {box.inner_text()[-600:]}")


def visit(round_: "Round", page: Page, name: str, query: str = "") -> None:
    """Opens a page by its address."""
    page.goto(f"{round_.lab.address}/{name}{query}")
    page.get_by_role("heading").first.wait_for()
    look(round_, page)


def query(round_: "Round", chance: random.Random) -> str:
    """The query of a stored link: to a sweep, a run, or a deleted one."""
    sweeps, runs = round_.lab.store.sweeps(), round_.lab.store.runs()
    links = ["", "?sweep=000000000000", "?run=000000000000&table=" + "0" * 64]
    links += [f"?sweep={sweep.id}" for sweep in sweeps[:3]] + [f"?run={run.id}" for run in runs[-3:]]
    return chance.choice(links)


@action(5)
def every_page(round_: "Round", chance: random.Random) -> None:
    with tab(round_) as page:
        for name in chance.sample(PAGES, len(PAGES)):
            visit(round_, page, name, query(round_, chance))
            if chance.random() < 0.4:
                page.reload()
                page.get_by_role("heading").first.wait_for()
                look(round_, page)


@action(3)
def upload_tables(round_: "Round", chance: random.Random) -> None:
    name, content = broken_table(chance)
    with tab(round_) as page:
        visit(round_, page, "")
        before = {table.id for table in list_datasets(round_.lab.home)}
        files = [("people *mine*.csv", good_table(chance)), (name, content)]
        page.locator("input[type=file]").set_input_files(
            [{"name": n, "mimeType": "text/csv", "buffer": c} for n, c in files]
        )
        page.get_by_text(f"{name} was not added").first.wait_for()
        new = [
            table.name
            for table in list_datasets(round_.lab.home)
            if table.id not in before and table.name != COMMAND_TABLE
        ]
        if new != [files[0][0]]:
            round_.fail("upload", f"a good table and {name} became {new}")


@action(2)
def upload_an_adapter(round_: "Round", chance: random.Random) -> None:
    found = ended(round_, adapter=True)
    whole = (round_.lab.store.run_dir(chance.choice(found).id) / ADAPTER_FILE).read_bytes() if found else b""
    content = whole if whole and chance.random() < 0.5 else broken_adapter(chance, whole)
    with tab(round_) as page:
        visit(round_, page, "adapters")
        box = page.locator("details", has_text="Add an adapter from another machine")
        if box.get_attribute("open") is None:
            box.locator("summary").click()
        page.locator("input[type=file]").set_input_files(
            {"name": "theirs.zip", "mimeType": "application/zip", "buffer": content}
        )
        told = "its base model is here" if content == whole else "theirs.zip was not added"
        page.get_by_text(told).first.wait_for()


@action(2)
def download(round_: "Round", chance: random.Random) -> None:
    runs = ended(round_, adapter=True)
    if not runs:
        return
    with tab(round_) as page:
        for name, label in (("leaderboard", "Download the leaderboard (CSV)"), ("adapters", "Download the adapter")):
            visit(round_, page, name, f"?run={chance.choice(runs).id}" if name == "adapters" else "")
            with page.expect_download() as found:
                page.get_by_role("button", name=label).first.click()
            if not os.path.getsize(found.value.path()):
                round_.fail("download", f"{label}: the file is empty")


@action(2)
def launch_on_the_page(round_: "Round", chance: random.Random) -> None:
    tables = list_datasets(round_.lab.home)
    if not tables:
        return
    with tab(round_) as page:
        visit(round_, page, "new_run", f"?table={chance.choice(tables).id}")
        page.get_by_text("steps", exact=True).first.click()
        steps = page.get_by_label("Steps", exact=True)
        steps.fill("4")
        steps.press("Enter")
        look(round_, page)
        before = len(round_.lab.store.runs())
        page.get_by_role("button", name=re.compile(r"^Launch \d+ runs?")).click()
        page.wait_for_url("**/live**")
        page.get_by_text(re.compile(r"runs? ha(s|ve) ended")).first.wait_for()
        look(round_, page)
        if len(round_.lab.store.runs()) <= before:
            round_.fail("launch", "the button of New run queued nothing")


@action(3)
def two_sessions(round_: "Round", chance: random.Random) -> None:
    """One tab watches while the other changes and deletes what it shows."""
    sweeps = round_.lab.store.sweeps()
    if not sweeps:
        return
    link = f"?sweep={sweeps[0].id}"
    with tab(round_) as one, tab(round_) as other:
        for page in (one, other):
            visit(round_, page, "live", link)
        for label in chance.sample(["Stop all, keep the best", "Cancel all", "Cancel and discard"], 2):
            button = one.get_by_role("button", name=label)
            if button.count() and button.first.is_enabled():
                round_.asked |= {run.id for run in round_.lab.store.runs()}
                with contextlib.suppress(TimeoutError):  # the run may end, and its button disappears
                    button.first.click(force=True, timeout=1000 * patience(5))
                look(round_, one)
        for run in [run for run in round_.lab.store.runs(sweeps[0].id) if run in ended(round_)]:
            with contextlib.suppress(StoreError):
                round_.lab.store.delete(run.id)
                round_.deleted.add(run.id)
        visit(round_, one, chance.choice(PAGES), link)
        look(round_, other)
