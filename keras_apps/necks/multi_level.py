"""The last maps side by side, each pooled and projected."""

import tensorflow as tf

from keras_apps.build import build

LEVELS = ("map3", "map4", "map5")


class MultiLevelNeck(tf.keras.layers.Layer):
    """feature = [project_l(pool_l(map_l)) for the levels l], side by side: fine detail beside meaning.

    Args:    pooling: method string, of which each level has its own; the caller's fact.
             levels: how many of the last maps, 1 to 3.  dimension: of each level's projection; 0 = none.
    Call:    maps {"map3", "map4", "map5"}, each [b,h,w,d], training -> [b,D], D = levels x dimension or the sum of
             what the poolings give.
    Raises:  ValueError for another number of levels or a negative dimension.
    Source:  inspired by the multi-level network for vehicle re-identification that a ranked-list loss trains; its
             details are not public.
    """

    def __init__(self, pooling, levels=2, dimension=0):
        super().__init__()
        if levels not in (1, 2, 3) or dimension < 0:
            raise ValueError(f"multi_level(levels={levels}, dimension={dimension}) needs 1 to 3 levels and a dimension "
                             "of at least 0.")
        self.levels = LEVELS[-levels:]
        self.poolings = [build("poolings", pooling) for _ in self.levels]
        self.projections = [tf.keras.layers.Dense(dimension, use_bias=False) for _ in self.levels if dimension]

    def call(self, maps, training=False):
        pooled = [pool(maps[level]) for pool, level in zip(self.poolings, self.levels)]
        if self.projections:
            pooled = [project(one) for project, one in zip(self.projections, pooled)]
        return tf.concat(pooled, axis=1)
