"""Names of Streamlit that we use although they are not public."""

from tabtune_core.upstream import Upstream

UPSTREAM = Upstream(
    distribution="streamlit",
    names={
        "streamlit.web.server.server_util:get_cookie_secret": "reads the log-in cookie before a page runs",
        "streamlit.web.server.starlette.starlette_app_utils:decode_signed_value": "decodes this cookie",
        "streamlit.web.server.starlette.starlette_server_config:USER_COOKIE_NAME": "the name of this cookie",
        "streamlit.runtime.scriptrunner.script_runner:ScriptRunner._run_script": "ignores late clicks, which would blank the next page",
        "streamlit.runtime.backend_operation_handler:DeferredFileHandler.handle": "says why a file cannot be downloaded",
        "streamlit.runtime.app_session:AppSession.request_rerun": "draws the page anew after that",
        "streamlit.runtime.fragment:MemoryFragmentStorage.contains": "finds out whether a click came too late",
        "streamlit.runtime.scriptrunner_utils.script_run_context:ScriptRunContext.is_history_navigation": "whether a person went Back",
        "streamlit.runtime.scriptrunner_utils.script_run_context:ScriptRunContext.fragment_ids_this_run": "whether a part is drawn again",
        "streamlit.runtime.state.query_params:QueryParams.set_with_no_forward_msg": "collects the choices of a page",
        "streamlit.runtime.state.query_params:QueryParams.discard_param_no_forward_msg": "takes one away",
        "streamlit.runtime.state.query_params:QueryParams.set_initial_query_params_from_current": "has fields read what is left",
        "streamlit.runtime.state.query_params:QueryParams._send_query_param_msg": "makes them one entry of the history",
    },
)
