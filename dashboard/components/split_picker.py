"""How the rows are split: a question of the Data page where the table raises it, and a choice on New run, with one answer."""

import streamlit as st

from dashboard.formatting import plain
from dashboard.url_state import chosen, pick, renew
from tabtune_core.data.datasets import Dataset
from tabtune_core.data.split_question import AT_RANDOM, all_answers, read_answer, split_question
from tabtune_core.settings import RunSettings, SplitBy, describe


def ask_split(dataset: Dataset, target: str) -> str:
    """Asks where the table has dates or ids that come again; the answer, which goes to New run too. Nothing is read again."""
    question = split_question(dataset.columns, dataset.rows, target)
    if question is None:
        return AT_RANDOM
    renew("split", when=dataset.id, value=AT_RANDOM)
    held = chosen("split", all_answers(dataset.columns, target), AT_RANDOM)
    answers = list(dict.fromkeys([*question.options, held]))
    answer = pick("How to split the rows", answers, name="split", default=AT_RANDOM, format_func=plain, widget=st.radio)
    st.caption(plain(question.message))
    return answer


def pick_split(dataset: Dataset, target: str) -> tuple[SplitBy, str | None]:
    """How to split, and by which column; what the table raises comes first in the list and is said."""
    question = split_question(dataset.columns, dataset.rows, target)
    renew("split", when=dataset.id, value=AT_RANDOM)
    answers = list(dict.fromkeys([*(question.options if question else ()), *all_answers(dataset.columns, target)]))
    answer = pick("Split", answers, name="split", default=AT_RANDOM, help=describe(RunSettings, "split_by"))
    if question and answer == AT_RANDOM:
        st.caption(plain(question.message))
    return read_answer(answer)
