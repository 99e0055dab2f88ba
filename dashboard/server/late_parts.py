"""A late click, on a page that the person has left, does not blank the next page.

A browser that goes to another page, and then sends a click in a part (``st.fragment``) of the one it leaves, names that page with it. Once
the new page is drawn Streamlit 1.67 finds no such part, but takes the page that was named for the one to show, and the browser clears all.
"""

from streamlit.runtime.scriptrunner.script_runner import ScriptRunner
from streamlit.runtime.scriptrunner_utils.script_requests import RerunData


def leave_out_late_parts() -> None:
    """Has Streamlit ignore a request whose parts no longer exist. To be called once."""
    carry_out = ScriptRunner._run_script

    def run_script(self: ScriptRunner, rerun_data: RerunData) -> None:
        asked = rerun_data.fragment_id_queue
        if not asked or any(self._fragment_storage.contains(part) for part in asked):
            carry_out(self, rerun_data)

    ScriptRunner._run_script = run_script  # type: ignore[method-assign]
