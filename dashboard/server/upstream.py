"""Names that we use of Streamlit beyond its public interface."""

from tabtune_core.upstream import Upstream

UPSTREAM = Upstream(
    distribution="streamlit",
    names={
        "streamlit.web.server.server_util:get_cookie_secret": "who has logged in, asked before a page runs",
        "streamlit.web.server.starlette.starlette_app_utils:decode_signed_value": "the same cookie, opened",
        "streamlit.web.server.starlette.starlette_server_config:USER_COOKIE_NAME": "its name",
        "streamlit.runtime.scriptrunner.script_runner:ScriptRunner._run_script": "late clicks, which would blank the next page",
        "streamlit.runtime.fragment:MemoryFragmentStorage.contains": "the same: whether a part of a page is still there",
    },
)
