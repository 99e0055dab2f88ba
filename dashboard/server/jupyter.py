"""Entry point of jupyter-server-proxy: Jupyter starts the dashboard, authenticates users and forwards requests."""

import sys
from pathlib import Path
from typing import Any


def server() -> dict[str, Any]:
    """Returns the server's description for jupyter-server-proxy."""
    here = "127.0.0.1:{port}"
    options = ["--no-browser", "--port", "{port}", "--base-url", "{base_url}lora-lab/"]
    return {
        "command": [sys.executable, "-m", "dashboard", *options],
        "absolute_url": True,
        "timeout": 60,
        "request_headers_override": {"Host": here, "Origin": f"http://{here}"},
        "launcher_entry": {"title": "LoRA Lab", "icon_path": str(Path(__file__).parents[1] / "icon.svg")},
    }
