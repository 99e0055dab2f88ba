"""Makes the pictures of the README and the documentation from a real sweep, in light and dark.

``python docs/make_pictures.py`` starts the dashboard on a workspace of its own, runs the tutorial's sweep there
(minutes, on a CPU), looks at Live while it goes on, then opens the other pages. Out: WebP files in
``docs/pages/pictures``. Needs a Chromium (or ``CHROMIUM``).
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path

from make_demo import SWEEPS, TABLE
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tabtune_core.store.runs import RunStore

DOCS = Path(__file__).parent
PICTURES = DOCS / "pages" / "pictures"
SCHEMES = ("light", "dark")
SCREEN = {"width": 1440, "height": 1240}
WIDTH, QUALITY = 1120, 78
"""Of a picture: pixels, and WebP's quality."""
SECONDS_A_LOOK, FRAMES = 5.0, 14
FRAME_MS, LAST_MS = 600, 3000
FORM = "target=shell&ranks=2&ranks=4&ranks=8&length=steps"
STILLS = {
    "data": "?target=shell",
    "new_run": f"new_run?{FORM}",
    "leaderboard": "leaderboard",
    "compare": "compare",
    "adapters": "adapters",
}
"""A picture, and the page that it shows."""


@contextmanager
def dashboard(home: Path) -> Iterator[str]:
    """The address of a server on ``home``; it and its worker end with the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "dashboard", "--home", str(home), "--port", str(port), "--no-browser"]
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with suppress(OSError):
                urllib.request.urlopen(f"{address}/_stcore/health", timeout=2)
                break
            time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=20)
        with suppress(FileNotFoundError, ProcessLookupError):
            os.kill(json.loads((home / "worker.lock").read_text())["pid"], signal.SIGTERM)


def shot(page: Page) -> Image.Image:
    """What the tab shows, in a picture's size."""
    image = Image.open(BytesIO(page.screenshot(animations="disabled"))).convert("RGB")
    return image.resize((WIDTH, round(WIDTH * image.height / image.width)), Image.Resampling.LANCZOS)


def settled(page: Page, address: str) -> Page:
    """The tab at an address, once its charts and tables are drawn."""
    page.goto(address)
    page.get_by_role("heading").first.wait_for(timeout=60_000)
    page.wait_for_timeout(6_000)
    return page


def tabs(browser: Browser) -> dict[str, Page]:
    """One tab a colour scheme."""
    return {scheme: browser.new_context(viewport=SCREEN, color_scheme=scheme).new_page() for scheme in SCHEMES}


def watch(pages: dict[str, Page], address: str, sweep: subprocess.Popen[bytes]) -> dict[str, list[Image.Image]]:
    """Live, look by look, until the sweep's command ends, and once more."""
    for page in pages.values():
        settled(page, f"{address}/live")
    seen: dict[str, list[Image.Image]] = {scheme: [] for scheme in pages}
    going = True
    while going:
        going = sweep.poll() is None
        for scheme, page in pages.items():
            seen[scheme].append(shot(page))
        time.sleep(SECONDS_A_LOOK if going else 0)
    return seen


def save(name: str, frames: list[Image.Image], last: Image.Image) -> None:
    """A moving picture: evenly spaced frames, then a last one that stays."""
    chosen = [frames[round(i * (len(frames) - 1) / (FRAMES - 1))] for i in range(FRAMES)]
    times = [FRAME_MS] * (FRAMES - 1) + [LAST_MS // 2, LAST_MS]
    chosen[0].save(
        PICTURES / name,
        save_all=True,
        append_images=[*chosen[1:], last],
        duration=times,
        loop=0,
        quality=QUALITY,
        method=6,
    )


def main() -> None:
    """Makes all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, help="a workspace to keep; a temporary one unless given")
    options = parser.parse_args()
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        home, table = options.home or Path(folder) / "home", Path(folder) / "quantiles.csv"
        subprocess.run([sys.executable, DOCS / "examples" / "quantiles.py", table], check=True)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        with dashboard(home) as address:
            command = [
                sys.executable,
                "-m",
                "tabtune_core",
                "sweep",
                table,
                *f"{TABLE} {SWEEPS['finished']}".split(),
                "--home",
                home,
            ]
            sweep = subprocess.Popen(command, stdin=subprocess.DEVNULL)
            while not RunStore(home).sweeps() and sweep.poll() is None:
                time.sleep(0.5)
            pages = tabs(browser)
            frames = watch(pages, address, sweep)
            for name, path in STILLS.items():
                for scheme, page in pages.items():
                    picture = shot(settled(page, f"{address}/{path}"))
                    picture.save(PICTURES / f"{name}-{scheme}.webp", quality=QUALITY, method=6)
                    if name == "leaderboard":
                        save(f"sweep-{scheme}.webp", frames[scheme], picture)
        browser.close()


if __name__ == "__main__":
    main()
