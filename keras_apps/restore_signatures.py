"""The signatures of a served restorer: what images and scales it takes, and what it makes of them."""

import tensorflow as tf

from keras_apps import tiles
from keras_apps.enlarging import doublings

LEAST_SIDE = 4              # pixels of an image that is restored
MOST_MADE = 200_000_000     # pixels of the images that one request makes
MOST_AT_ONCE = 2_000_000    # without windows; a network's maps take some 200 bytes and more a pixel
MOST_IMAGES = 1024          # of one request


class RestoreSignatures:
    """`restore` on encoded images of any size, each with its scale; `restore_tensor` on numbers of one size.

    restore: image_bytes string [n], scale int32 [n] -> image_bytes [n], PNGs, each `scale` times as high and wide. One
    image after the other, in windows (see `tiles`): memory holds the encoded images, one decoded image, one window's
    maps and one result. restore_tensor: image_tensor float32 [n,h,w,C] in data units, scale int32 [n], all equal ->
    image_tensor [n, scale h, scale w, C], not rounded; all at once, so that 2 million pixels are the most.

    A scale of 0 asks for the model's own.

    Args:    network: a restorer.  decoder: of the data.  channels: C.  scales: (smallest, largest), whole numbers; of
             one number each other one is refused.  own: the scale that 0 stands for.  ensemble: as in `tiles.flips`.
    Raises:  InvalidArgumentError (from the graph) for another scale, an image below 4 x 4 pixels, more than 1,024
             images or 200 million pixels made by one request, and whatever the decoder refuses.
    """

    def __init__(self, network, decoder, channels, scales, own, ensemble):
        self.network, self.decoder, self.channels = network, decoder, channels
        self.scales, self.own, self.ensemble = scales, own, ensemble

    def signatures(self):
        """Entries of `App.signatures`; images that are no bytes of 8 bits have `restore_tensor` alone."""
        many = tf.TensorSpec([None], tf.int32)
        numbers = {"image_tensor": tf.TensorSpec([None, None, None, self.channels], tf.float32), "scale": many}
        found = {"restore_tensor": {"function": self.restore_tensor, "inputs": numbers}}
        if self.decoder.raw or self.decoder.dtype != "uint8":
            return found
        encoded = {"image_bytes": tf.TensorSpec([None], tf.string), "scale": many}
        return {"restore": {"function": self.restore, "inputs": encoded}, **found}

    @tf.autograph.experimental.do_not_convert
    def restore(self, image_bytes, scale):
        scale = tf.where(scale == 0, self.own, scale)
        with tf.control_dependencies([_alike(tf.size(image_bytes), tf.size(scale)), self._known(scale)]):
            image_bytes = tf.identity(image_bytes)

        def step(row, spent, found):
            image = tf.ensure_shape(self.decoder.whole(image_bytes[row]), [None, None, self.channels])
            spent += tf.reduce_prod(tf.cast(tf.shape(image)[:2], tf.int64)) * tf.cast(scale[row], tf.int64) ** 2
            with tf.control_dependencies([_large_enough(tf.shape(image)), _few_enough(spent, MOST_MADE)]):
                image = tf.identity(image)
            return row + 1, spent, found.write(row, tf.io.encode_png(self._restored(image, scale[row])))
        count = tf.size(image_bytes)
        found = tf.TensorArray(tf.string, size=count, element_shape=[])
        _, _, found = tf.while_loop(lambda row, spent, found: row < count, step,
                                    (0, tf.constant(0, tf.int64), found), parallel_iterations=1)
        return {"image_bytes": tf.reshape(found.stack(), [-1])}

    @tf.autograph.experimental.do_not_convert
    def restore_tensor(self, image_tensor, scale):
        scale = tf.where(scale == 0, self.own, scale)
        low, high = (tf.constant(side, tf.float32) for side in (self.decoder.low, self.decoder.high))
        shape = tf.shape(image_tensor)
        with tf.control_dependencies([
                _alike(shape[0], tf.size(scale)), self._known(scale), _large_enough(shape[1:]),
                tf.debugging.Assert(shape[0] > 0, ["`image_tensor` holds no image; send at least one"]),
                tf.debugging.Assert(tf.reduce_all(scale == scale[:1]), [
                    "`scale` must be one number for all images of a request; ask several times"])]):
            times = tf.identity(scale)[0]
        made = tf.reduce_prod(tf.cast(shape[:3], tf.int64)) * tf.cast(times, tf.int64) ** 2
        with tf.control_dependencies([_few_enough(made, MOST_AT_ONCE)]):
            images = tf.clip_by_value((image_tensor - low) / (high - low), 0.0, 1.0)
        found = self._switched(times, lambda doubled: self._whole(times, doubled)(images))
        return {"image_tensor": tf.clip_by_value(found, 0.0, 1.0) * (high - low) + low}

    def _restored(self, image, scale):
        """float32 [h,w,C] in [0, 1] -> uint8 [h scale, w scale, C]."""
        return self._switched(scale, lambda doubled: tiles.restore(image, scale, self._whole(scale, doubled),
                                                                   self.network.reach))

    def _whole(self, scale, doubled):
        def larger(images):
            return self.network(images, tf.shape(images)[1:3] * scale, scale, doubled)
        return tiles.flips(larger, self.ensemble)

    def _switched(self, scale, make):
        """`make(doublings)` with as many doublings as the scale needs, which only the request says."""
        low, high = (doublings(side) for side in self.scales)
        if low == high:
            return make(high)
        place = sum(tf.cast(scale > 2 ** times, tf.int32) for times in range(low, high))
        return tf.switch_case(place, [lambda times=times: make(times) for times in range(low, high + 1)])

    def _known(self, scales):
        low, high = self.scales
        which = f"{low}" if low == high else f"whole numbers from {low} to {high}"
        return tf.debugging.Assert(tf.reduce_all((scales >= low) & (scales <= high)), [tf.strings.format(
            f"`scale` is {{}} but this model restores {which} times as large; ask for that", (scales,), summarize=5)])


def _alike(images, scales):
    return tf.debugging.Assert((images == scales) & (images <= MOST_IMAGES), [tf.strings.format(
        f"{{}} images with {{}} numbers in `scale` cannot be restored: there must be one number an image, and at most "
        f"{MOST_IMAGES} images; ask several times", (images, scales))])


def _large_enough(shape):
    return tf.debugging.Assert(tf.reduce_all(shape[:2] >= LEAST_SIDE), [tf.strings.format(
        "an image of {} x {} pixels (height x width) is too small to restore: it must have at least "
        f"{LEAST_SIDE} x {LEAST_SIDE}; send a larger one", (shape[0], shape[1]))])


def _few_enough(pixels, most):
    return tf.debugging.Assert(pixels <= most, [tf.strings.format(
        f"the restored images would have {{}} pixels together but one request makes at most {most}; ask for a smaller "
        "scale, or send fewer or smaller images", pixels)])
