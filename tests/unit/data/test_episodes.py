"""Episodes: sizes, determinism, and rows that nothing could predict."""

import itertools

import numpy as np
import pytest

from tabtune_core.data.episodes import EpisodeSize, draw_episodes


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


def test_an_epoch_queries_about_every_row_once():
    assert EpisodeSize(256, 85).steps_an_epoch(341) == 5


def draw(rng_seed, count=3, rows=40):
    x = np.arange(rows * 2, dtype=np.float32).reshape(rows, 2)
    y = np.arange(rows) % 3
    return list(itertools.islice(draw_episodes(x, y, 3, EpisodeSize(30, 10), np.random.default_rng(rng_seed)), count))


def test_one_seed_gives_the_same_episodes_and_another_gives_others():
    first, again, other = draw(0), draw(0), draw(1)
    assert all(np.array_equal(a.x_TF, b.x_TF) and np.array_equal(a.y_Q, b.y_Q) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0].x_TF, other[0].x_TF)


def test_rows_keep_their_labels_under_the_permutations():
    for episode in draw(0):
        identity = episode.x_TF.min(axis=1) // 2  # the row number, whichever column stands first
        true = identity.astype(int) % 3
        permuted = np.concatenate([episode.y_C, episode.y_Q])
        mapping = {t: {p for p, u in zip(permuted, true, strict=True) if u == t} for t in range(3)}
        assert all(len(ids) == 1 for ids in mapping.values())


def test_a_query_row_whose_class_the_context_lacks_is_marked():
    x, y = np.zeros((20, 1), dtype=np.float32), np.arange(20)
    episode = next(draw_episodes(x, y, 20, EpisodeSize(15, 5), np.random.default_rng(0)))
    assert episode.y_Q.tolist() == [-1] * 5
