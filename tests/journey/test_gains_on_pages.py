"""No page shows a gain or an improvement without its interval or a note that its noise is unknown."""

import re

import pandas as pd
import seeding
from page_steps import go

OF_A_GAIN = re.compile(
    r"\b(improv|worsen|better than|worse than|gain|brings?\b|ahead|behind|beats?\b|leads?\b)", re.IGNORECASE
)
A_NUMBER = re.compile(r"\d\.\d\d")
ITS_NOISE = re.compile(r"±|interval|[Nn]oise|too few")
PAGES = [
    ("leaderboard", {"lines": "run"}),
    ("leaderboard", {"lines": "configuration"}),
    ("leaderboard", {"board": "all"}),
    ("adapters", {}),
    ("compare", {}),
    ("live", {}),
    ("try_it", {}),
]


def alone(frame):
    """The columns of a shown table with gains as bare numbers."""
    gains = [name for name in frame if OF_A_GAIN.search(str(name)) and "±" not in str(name)]
    beside = " ".join(str(name) for name in frame if "±" in str(name) or str(name).endswith("_half_width"))
    texts = {name: frame[name].dropna().astype(str) for name in gains}
    bare = [
        name
        for name, cells in texts.items()
        if cells.str.contains(A_NUMBER).any() and not cells[cells != ""].str.contains(ITS_NOISE).all()
    ]
    return [name for name in bare if not (pd.api.types.is_numeric_dtype(frame[name]) and "gain" in beside)]


def said(app):
    """Every sentence on the page that mentions a gain and a number but not its noise."""
    kinds = (app.markdown, app.caption, app.info, app.success, app.warning, app.metric)
    texts = [
        str(part)
        for kind in kinds
        for one in kind
        for part in (one.value, getattr(one, "label", ""), getattr(one, "help", ""))
    ]
    paragraphs = [paragraph for text in texts for paragraph in text.split("\n\n")]
    return [one for one in paragraphs if OF_A_GAIN.search(one) and A_NUMBER.search(one) and not ITS_NOISE.search(one)]


def test_every_gain_on_a_page_has_its_noise(app, store):
    """For a sweep whose runs kept their predictions, and for one whose runs did not."""
    for kept in (True, False):
        sweep = seeding.finished_sweep(store, ranks=(2, 4), seeds=(0, 1))
        for run in store.runs(sweep) if kept else ():
            seeding.predict(store, run.id, range(111) if run.settings.strategy == "peft" else range(100), range(100))
    for name, where in PAGES:
        go(app, name, **where)
        assert not app.exception, name
        assert [column for table in app.dataframe for column in alone(table.value)] == [], name
        assert said(app) == [], name
