"""Episodes: sizes, determinism, and classes that the context must have."""

import dataclasses
import itertools

import numpy as np
import pytest

from tabtune_core.training import episodes
from tabtune_core.training.episodes import EpisodeSize, draw_episodes, in_rounds


@pytest.mark.parametrize(
    ("rows", "batch", "context", "expected"),
    [
        (341, 256, 2048, (256, 85)),
        (100_000, 256, 2048, (2048, 256)),
        (12, 256, 2048, (9, 3)),
        (341, 16, 2048, (325, 16)),
        (2, 4, 10, (1, 1)),
    ],
)
def test_the_size_of_an_episode(rows, batch, context, expected):
    size = EpisodeSize.plan(rows, batch_size=batch, context_rows=context)
    assert (size.context, size.query) == expected


def draw(rng_seed, count=3, rows=40):
    x = np.arange(rows * 2, dtype=np.float32).reshape(rows, 2)
    y = np.arange(rows) % 3
    return list(itertools.islice(draw_episodes(x, y, 3, EpisodeSize(30, 10), np.random.default_rng(rng_seed)), count))


@pytest.mark.parametrize("most", [None, 2])
def test_row_weights_follow_their_rows_through_every_permutation(most):
    x_NF, y_N, weight_N = np.arange(40, dtype=np.float32)[:, None], np.arange(40) % 3, np.arange(40.0) + 10
    drawn = draw_episodes(
        x_NF, y_N, 3, EpisodeSize(12, 6), np.random.default_rng(0), most_classes=most, weight_N=weight_N
    )
    for episode in itertools.islice(drawn, 20):
        rows = episode.x_TF[len(episode.y_C) :, 0].astype(int)
        np.testing.assert_array_equal(episode.weight_Q, weight_N[rows])


def test_rows_of_unseen_classes_and_rows_of_weight_0_do_not_count():
    x, y = np.zeros((100, 1), dtype=np.float32), np.arange(100) % 20
    episode = next(draw_episodes(x, y, 20, EpisodeSize(15, 5), np.random.default_rng(0), weight_N=np.ones(100)))
    np.testing.assert_array_equal(episode.weight_Q > 0, episode.y_Q >= 0)
    assert 0 < episode.scored(20) == episode.known(20) < 5
    assert episode.weight_Q.mean() == 1, "equal weights give the loss that no weights give"
    nothing = dataclasses.replace(episode, weight_Q=np.zeros(5))
    assert (nothing.scored(20), nothing.known(20)) == (0, episode.known(20))


def test_a_set_of_episodes_repeats_the_first_fresh_ones():
    fresh = draw(0, count=7)
    for count, order in ((3, (0, 1, 2, 0, 1, 2, 0)), (1, (0,) * 7), (0, range(7)), (9, range(7))):
        given = itertools.islice(in_rounds(lambda: iter(draw(0, count=20)), count), 7)
        assert all(
            np.array_equal(one.x_TF, fresh[i].x_TF) and np.array_equal(one.y_C, fresh[i].y_C)
            for one, i in zip(given, order, strict=True)
        )


def test_one_seed_gives_the_same_episodes_and_another_gives_others():
    first, again, other = draw(0), draw(0), draw(1)
    assert all(
        np.array_equal(a.x_TF, b.x_TF) and np.array_equal(a.y_Q, b.y_Q) for a, b in zip(first, again, strict=True)
    )
    assert not np.array_equal(first[0].x_TF, other[0].x_TF)


def test_rows_keep_their_labels_under_permutation():
    for episode in draw(0):
        identity = episode.x_TF.min(axis=1) // 2  # the row number, whichever column comes first
        true = identity.astype(int) % 3
        permuted = np.concatenate([episode.y_C, episode.y_Q])
        mapping = {t: {p for p, u in zip(permuted, true, strict=True) if u == t} for t in range(3)}
        assert all(len(ids) == 1 for ids in mapping.values())


def test_a_query_row_of_a_class_missing_from_the_context_is_marked():
    x, y = np.zeros((20, 1), dtype=np.float32), np.arange(20)
    episode = next(draw_episodes(x, y, 20, EpisodeSize(15, 5), np.random.default_rng(0)))
    assert episode.y_Q.tolist() == [-1] * 5


def of_rows(y, size, count, **more):
    """Draws episodes whose only feature is the row number; yields the row numbers of context and query."""
    x, classes = np.arange(len(y), dtype=np.float32)[:, None], int(y.max()) + 1
    for episode in itertools.islice(draw_episodes(x, y, classes, size, np.random.default_rng(0), **more), count):
        rows = episode.x_TF[:, 0].astype(int)
        yield episode, rows[: len(episode.y_C)], rows[len(episode.y_C) :]


def test_the_context_has_every_class_of_the_query_rows():
    y = np.repeat([0, 1, 2, 3], [14, 3, 2, 1])
    size = EpisodeSize.plan(len(y), batch_size=256, context_rows=8)
    for episode, context, query in of_rows(y, size, 200):
        assert (len(context), len(query)) == (size.context, size.query)
        assert len({*context, *query}) == size.context + size.query, "no row twice"
        assert set(y[query]) <= set(y[context])
        assert (episode.y_Q >= 0).all()
        assert len({*zip(y[[*context, *query]], [*episode.y_C, *episode.y_Q], strict=True)}) == len(
            {*y[[*context, *query]]}
        )


def test_a_rare_class_is_queried_but_a_class_of_one_row_never():
    y = np.repeat([0, 1, 2], [200, 2, 1])
    asked = np.concatenate([y[query] for *_, query in of_rows(y, EpisodeSize(20, 10), 300)])
    assert np.isclose((asked == 1).mean(), 2 / 203, rtol=0.4), "as often as any other row"
    assert not (asked == 2).any()


def test_an_episode_has_a_random_choice_of_as_many_classes_as_the_model_takes():
    y, seen = np.repeat(np.arange(12), [30, *[5] * 11]), set()
    for episode, context, query in of_rows(y, EpisodeSize(40, 10), 50, most_classes=10):
        ids, rows = np.concatenate([episode.y_C, episode.y_Q]), np.concatenate([context, query])
        assert 0 <= ids.min() <= ids.max() < 10
        assert len({*zip(y[rows], ids, strict=True)}) == len(set(y[rows])) == len(set(ids))
        seen |= set(y[rows])
    assert seen == set(range(12))


@pytest.mark.parametrize("most", [None, 2])
def test_every_row_of_a_large_table_is_equally_likely(monkeypatch, most):
    monkeypatch.setattr(episodes, "MOST_DRAWN", 30)
    y = np.repeat([0, 1, 2], [40, 40, 40])
    drawn = np.concatenate([[*one, *two] for _, one, two in of_rows(y, EpisodeSize(15, 5), 2000, most_classes=most)])
    assert np.bincount(drawn, minlength=120) == pytest.approx(np.full(120, 2000 * 20 / 120), rel=0.25)
