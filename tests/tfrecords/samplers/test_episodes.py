import numpy as np
import pytest

from tfrecords.batch import Table
from tfrecords.samplers.episodes import EpisodesSampler


def table(counts):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(-1, len(counts) - 1), counts))
    return Table(np.arange(len(labels)), labels)


def test_support_comes_first_then_queries_of_the_same_classes():
    data = table([9] + [8] * 11)
    rows = EpisodesSampler(batch=2 * 3 * 6, way=3, shot=2, query=4)(data, 0, 0)
    assert rows.shape == (11 // 3 // 2, 36)
    classes = []
    for episode in rows.reshape(-1, 18):
        assert len(set(episode)) == 18
        labels = data.labels[episode]
        support, queries = labels[:6].reshape(3, 2), labels[6:].reshape(3, 4)
        assert (support == support[:, :1]).all() and (queries == support[:, :1]).all()
        assert len(set(support[:, 0])) == 3 and (labels >= 0).all()
        classes += support[:, 0].tolist()
    assert len(set(classes)) == len(classes), "each class once an epoch"


def test_small_classes_are_left_out_and_few_classes_come_again():
    data = table([0, 3, 7, 6, 2, 5])
    rows = EpisodesSampler(batch=4 * 15, way=3, shot=1, query=4)(data, 0, 0)
    assert rows.shape == (1, 60)
    episodes = rows.reshape(4, 15)
    assert set(data.labels[episodes].ravel()) == {1, 2, 4}
    assert all(len(set(data.labels[episode])) == 3 and len(set(episode)) == 15 for episode in episodes)
    assert len({tuple(sorted(episode)) for episode in episodes}) > 1, "other images each time"


def test_images_are_drawn_evenly_for_support_and_queries():
    data, draw = table([0, 6, 6, 6]), EpisodesSampler(batch=9, way=3, shot=1, query=2)
    rows = np.concatenate([draw(data, 0, epoch) for epoch in range(1000)])
    for part, expected in ((rows[:, :3], 1000 / 6), (rows[:, 3:], 2000 / 6)):
        seen = np.bincount(part.ravel(), minlength=18)
        assert seen.min() > 0.75 * expected and seen.max() < 1.25 * expected


def test_refusals():
    with pytest.raises(ValueError, match="`batch` is 31 but must be a multiple of 30 .an episode .*; use 30 or 60."):
        EpisodesSampler(batch=31)
    with pytest.raises(ValueError, match="way=1"):
        EpisodesSampler(batch=30, way=1)
    with pytest.raises(ValueError, match="query=0"):
        EpisodesSampler(batch=30, query=0)
    with pytest.raises(ValueError, match="needs 5 classes with at least 6 images but the data have 2 .of 6 classes."):
        EpisodesSampler(batch=30)(table([4, 6, 5, 5, 9, 1, 1]), 0, 0)
