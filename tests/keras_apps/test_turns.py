"""Turned images."""

import numpy as np
import tensorflow as tf

from keras_apps import turns


def test_turns_are_quarter_turns_of_squares_and_half_turns_and_mirrors_of_others():
    images = np.random.default_rng(0).random((4, 6, 6, 1)).astype(np.float32)
    found = turns.turned(images, tf.range(4)).numpy()
    for place in range(4):
        np.testing.assert_array_equal(found[place], np.rot90(images[place], place))
    wide = images[:, :4]
    found = turns.turned(wide, tf.range(4)).numpy()
    for place, turned in enumerate((wide[0], wide[1][::-1], wide[2][:, ::-1], wide[3][::-1, ::-1])):
        np.testing.assert_array_equal(found[place], turned)
