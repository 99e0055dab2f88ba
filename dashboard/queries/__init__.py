"""Cached reads of the workspace: the only package with st.cache_*.

Ended runs never change and are read once; running ones are read at most once a second, however many tabs watch.
"""

from dashboard.queries.adapters import delete_upload, facts, keep_upload, new_rows, test_rows, uploads
from dashboard.queries.boards import (
    configurations,
    confirmed,
    gains_in_words,
    measure,
    paces,
    predictions,
    ranked,
    recommended,
)
from dashboard.queries.curves import Latest, Look, axis_end, frame, latest, look, of_look, shared, stamp, watched
from dashboard.queries.tables import (
    TASKS,
    Span,
    class_counts,
    delete_table,
    far_values,
    first_rows,
    forget_reading,
    histogram,
    keep_sample,
    label_findings,
    last_split,
    proposal,
    ranges,
    rows_of,
    split_asked,
    split_findings,
    split_sizes,
    start_reading,
    suspects,
    table_stops,
    table_titles,
    tables,
    upload_limit,
    values,
    ways,
)
from dashboard.queries.workspace import (
    active,
    cards,
    cluster,
    delete_jobs,
    home,
    keep_worker,
    listed,
    log_tail,
    look_after_worker,
    memory_of_devices,
    newest_jobs,
    search_summary,
    selection_metric,
    stamp_of,
    store,
    sweeps,
    unreadable,
)
