"""Names of Streamlit that we use although they are not public."""

from tabtune_core.upstream import Upstream

RUNTIME = "streamlit.runtime"
CONTEXT = f"{RUNTIME}.scriptrunner_utils.script_run_context:ScriptRunContext"
UPSTREAM = Upstream(
    distribution="streamlit",
    names={
        f"{RUNTIME}.scriptrunner.script_runner:ScriptRunner._run_script": "ignores late clicks",
        f"{RUNTIME}.fragment:MemoryFragmentStorage.contains": "finds out whether a click came too late",
        f"{CONTEXT}.is_history_navigation": "a person went Back",
        f"{CONTEXT}.fragment_ids_this_run": "a part is drawn",
        f"{RUNTIME}.state.query_params:QueryParams.set_with_no_forward_msg": "collects the choices of a page",
        f"{RUNTIME}.state.query_params:QueryParams.discard_param_no_forward_msg": "takes one away",
        f"{RUNTIME}.state.query_params:QueryParams.set_initial_query_params_from_current": "after a removal",
        f"{RUNTIME}.state.query_params:QueryParams._send_query_param_msg": "makes them one entry of the history",
    },
)
