"""How soon does the first page stand, in a browser that has seen nothing yet?

``python tests/benchmarks/first_page.py`` prints the seconds from the address to the first button, of a server that has just started and then
twice again. It needs a Chromium.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).parents[2]
PORT = 8765


def seconds(browser: Browser) -> float:
    """In a context of its own."""
    tab = browser.new_context().new_page()
    began = time.monotonic()
    tab.goto(f"http://127.0.0.1:{PORT}")
    tab.get_by_role("button", name="Use the sample table").wait_for()
    return time.monotonic() - began


def main() -> None:
    """Starts a server and looks at it."""
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        command = [sys.executable, "-m", "dashboard", "--home", home, "--port", str(PORT), "--no-browser"]
        server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        try:
            print(next(line for line in server.stdout or () if "LoRA Lab is at" in line).strip())
            path = os.environ.get("CHROMIUM") or shutil.which("chromium")
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
            print(", ".join(f"{seconds(browser):.1f} s" for _ in range(3)))
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
