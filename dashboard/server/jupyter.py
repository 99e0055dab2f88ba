"""Entry point of jupyter-server-proxy: Jupyter starts the dashboard, authenticates users and forwards requests."""

import sys
from pathlib import Path
from typing import Any


def server() -> dict[str, Any]:
    """Returns the server's description for jupyter-server-proxy."""
    here = "127.0.0.1:{port}"
    return {
        "command": [sys.executable, "-m", "dashboard", "--no-browser", "--port", "{port}"],
        "timeout": 60,
        "request_headers_override": {"Host": here, "Origin": f"http://{here}"},
        "launcher_entry": {"title": "LoRA Lab", "icon_path": str(Path(__file__).parents[1] / "icon.svg")},
    }
