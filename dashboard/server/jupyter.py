"""The dashboard among the servers that Jupyter starts and shows below its own address, by jupyter-server-proxy.

Jupyter asks who it is and where a websocket comes from; its answers reach the dashboard as from this machine.
"""

import sys
from pathlib import Path
from typing import Any


def server() -> dict[str, Any]:
    """What jupyter-server-proxy wants to know."""
    here = "127.0.0.1:{port}"
    options = ["--no-browser", "--port", "{port}", "--base-url", "{base_url}lora-lab/"]
    return {
        "command": [sys.executable, "-m", "dashboard", *options],
        "absolute_url": True,
        "timeout": 60,
        "request_headers_override": {"Host": here, "Origin": f"http://{here}"},
        "launcher_entry": {"title": "LoRA Lab", "icon_path": str(Path(__file__).parents[1] / "icon.svg")},
    }
