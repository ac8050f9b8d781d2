"""Faces brought to one place by five landmarks: the same way in writing, training and serving."""

import numpy as np
import tensorflow as tf

# Both eyes, nose, both corners of the mouth (left in the image first), as shares of the side from the upper left
# corner: the arrangement usual for face crops of 112 pixels, made symmetric and rounded by us.
TEMPLATE = ((0.34, 0.46), (0.66, 0.46), (0.50, 0.64), (0.37, 0.82), (0.63, 0.82))

MOST_SIDE = 1e5                             # image pixels that the aligned image's side may span, at least 1
FARTHEST = 1e6                              # pixels from the corner; squares of more would overflow
_LEVELS = 5                                 # the image and its halves


def similarity(landmarks):
    """The turn, scale and shift that bring landmarks closest to the template.

    With points as complex numbers, p of the image and q of the template: least sum |z p + t - q|^2, that is
    z = sum conj(p - mean p) (q - mean q) / sum |p - mean p|^2 and t = mean q - z mean p. There is no reflection.
    |z| is kept in [1e-5, 1]: landmarks that coincide, or lie without any likeness to the template, give a window about
    their middle instead of numbers that are none.

    Args:    landmarks: float [n, 5, 2], x and y in pixels, (0, 0) the upper left corner of the image.
    Returns: [n, 2, 3] of the same dtype: (x, y, 1) in pixels -> (x, y) in shares of the aligned side.
    Source:  Umeyama, IEEE TPAMI 13, 1991, without reflection; in the plane it is the formula above.
    """
    landmarks = tf.convert_to_tensor(landmarks)
    template = tf.constant(np.array(TEMPLATE), landmarks.dtype)
    goal = tf.reduce_mean(template, axis=0)
    middle = tf.reduce_mean(landmarks, axis=1)
    p, q = landmarks - middle[:, None], template - goal
    spread = tf.reduce_sum(p ** 2, axis=[1, 2])
    real = tf.reduce_sum(p * q, axis=[1, 2])
    imaginary = tf.reduce_sum(p[..., 0] * q[:, 1] - p[..., 1] * q[:, 0], axis=1)
    length = tf.sqrt(real ** 2 + imaginary ** 2)
    # Without any length there is no angle: upright.
    some = length > 0
    cosine = tf.where(some, tf.math.divide_no_nan(real, length), 1.0)
    sine = tf.where(some, tf.math.divide_no_nan(imaginary, length), 0.0)
    scale = tf.where(spread > 0, tf.math.divide_no_nan(length, spread), 1.0)
    scale = tf.clip_by_value(scale, 1.0 / MOST_SIDE, 1.0)
    a, b = scale * cosine, scale * sine
    x, y = middle[:, 0], middle[:, 1]
    return tf.stack([tf.stack([a, -b, goal[0] - a * x + b * y], axis=1),
                     tf.stack([b, a, goal[1] - b * x - a * y], axis=1)], axis=1)


def align(images, landmarks, size, nearest=False):
    """Images warped so that their landmarks lie at the template's places; 0 outside the image.

    Bilinear. An image that shrinks by 2 or more is first halved, as often as this keeps it at least as fine as the
    result (four times at most), by the mean of 2 x 2 pixels: no finer pattern than the result can show comes through
    as a coarse one. Stock TensorFlow ops, eager, in a graph and in a SavedModel; an image's result does not depend on
    the others.

    Args:    images: float32 [n, h, w, C].
             landmarks: float32 [n, 5, 2] as in `similarity`. An image of which any is not finite (none known) or a
             million pixels away is shown as a whole, centred.
             size: side of the result, pixels.
             nearest: the nearest pixel and no halving, for masks.
    Returns: float32 [n, size, size, C].
    """
    images = tf.convert_to_tensor(images)
    landmarks = tf.convert_to_tensor(landmarks, tf.float32)
    height, width = (tf.cast(tf.shape(images)[axis], tf.float32) for axis in (1, 2))
    known = tf.reduce_all(tf.abs(landmarks) < FARTHEST, axis=[1, 2], keepdims=True)        # False for NaN
    longer = tf.maximum(height, width)
    centred = longer * (tf.constant(TEMPLATE, tf.float32) - 0.5) + tf.stack([width, height]) / 2.0
    matrix = similarity(tf.where(known, landmarks, centred))
    a, b, shift_x, shift_y = matrix[:, 0, 0], matrix[:, 1, 0], matrix[:, 0, 2], matrix[:, 1, 2]
    # Back from a share of the side to the image: 1 / z = conj(z) / |z|^2.
    square = a ** 2 + b ** 2
    a, b = a / square, -b / square
    shift_x, shift_y = b * shift_y - a * shift_x, -b * shift_x - a * shift_y
    shrinks = tf.sqrt(a ** 2 + b ** 2) / size           # image pixels a pixel of the result
    level = tf.cast(tf.clip_by_value(tf.floor(tf.math.log(shrinks) / np.log(2.0)), 0.0, _LEVELS - 1.0), tf.int32)

    def warped(image, factor):
        """From an image whose pixels are `factor` wide. The op counts from the middle of the first pixel: +- 0.5."""
        step_a, step_b = a / (size * factor), b / (size * factor)
        x = shift_x / factor + 0.5 * (step_a - step_b) - 0.5
        y = shift_y / factor + 0.5 * (step_a + step_b) - 0.5
        zero = tf.zeros_like(x)
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=image, transforms=tf.stack([step_a, -step_b, x, step_b, step_a, y, zero, zero], axis=1),
            output_shape=[size, size], fill_value=0.0, fill_mode="CONSTANT",
            interpolation="NEAREST" if nearest else "BILINEAR")

    def halved(number, result):
        image = images
        for _ in range(number):                         # one by one: padding then comes behind the image only
            image = tf.nn.avg_pool2d(image, 2, 2, "SAME")
        return tf.where((level == number)[:, None, None, None], warped(image, 2.0 ** number), result)

    result = warped(images, 1.0)
    if not nearest:
        for number in range(1, _LEVELS):
            result = tf.cond(tf.reduce_any(level == number), lambda number=number, result=result:
                             halved(number, result), lambda result=result: result)
    return tf.ensure_shape(result, [images.shape[0], size, size, images.shape[3]])
