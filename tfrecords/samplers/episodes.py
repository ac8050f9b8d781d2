"""Few-shot episodes: some classes, of each some images to learn from and some to ask."""

import numpy as np

from tfrecords.samplers import _groups


class EpisodesSampler:
    """Each epoch visits the classes once in random order, `way` of them an episode.

    An episode is one group, never split: first its support, `shot` images of class 1, `shot` of class 2 and so on, then
    its queries in the same order, `query` of each class. No image comes twice in an episode. Classes with fewer than
    shot + query images are left out. Fewer classes than a batch of episodes needs come again, with newly drawn images.

    Args:    way: classes, >= 2.  shot, query: images a class, >= 1.
             batch: B = episodes x way x (shot + query), global; the caller's fact.
    Call:    table (rows [n], labels [N] with -1 = no label), seed, epoch.
    Returns: int64 [max(1, classes // way // episodes), B].
    Raises:  ValueError for numbers too small, B not a multiple of an episode, or fewer than `way` classes that have
             enough images.
    Source:  Vinyals et al., NeurIPS 2016, arXiv:1606.04080, section 2.2.
    """

    def __init__(self, batch, way=5, shot=1, query=5):
        if way < 2 or min(shot, query) < 1:
            raise ValueError(f"episodes(way={way}, shot={shot}, query={query}) needs at least 2 classes and 1 image of "
                             "each to learn from and to ask.")
        self.way, self.shot, self.query = way, shot, query
        self.group = way * (shot + query)
        _groups.require_multiple(batch, self.group, f"{self.group} (an episode of {way} x ({shot} + {query}) images)")
        self.batch = batch

    def __call__(self, table, seed, epoch):
        random = np.random.default_rng([seed, epoch])
        images = self.shot + self.query
        groups = _groups.grouped(table.rows, table.labels)
        enough = groups.kept(groups.counts >= images)
        count = len(enough.counts)
        if count < self.way:
            raise ValueError(f"`episodes` needs {self.way} classes with at least {images} images but the data have "
                             f"{count} (of {len(groups.counts)} classes); lower `way`, `shot` or `query`.")
        together = self.batch // self.group
        steps = max(1, count // self.way // together)
        found, passes = [], -(-steps * together // (count // self.way))
        for _ in range(passes):
            order = random.permutation(count)[:count // self.way * self.way]
            rows = _groups.shuffled_heads(enough, random, images)
            found.append(rows[enough.starts[order, None] + np.arange(images)])
        rows = np.concatenate(found)[:steps * together * self.way].reshape(-1, self.way, images)
        parts = rows[..., :self.shot], rows[..., self.shot:]
        return np.concatenate([part.reshape(len(rows), -1) for part in parts], axis=1).reshape(steps, self.batch)
