"""A notification of the browser when a sweep ends, for who asks for it with a button; the browser asks once more before the first.

It holds for this tab, and comes while the tab is open, also behind others. Nothing leaves the machine.
"""

from dashboard.components import browser_part

_component = browser_part("end_notification", "<button type='button' class='lab-notify' aria-pressed='false'></button>")


def end_notification(sweep: str, text: str, *, going: bool) -> None:
    """Draws the button. ``text`` is what is said once the sweep, which was seen ``going`` in this tab, has ended."""
    _component(data={"sweep": sweep, "text": text, "going": going}, key="end_notification", width="content")
