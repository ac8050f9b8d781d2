"""The chain of augmentations that makes views."""

import tensorflow as tf

from tfrecords.augment.blur import BlurAugment
from tfrecords.augment.crop_resize import CropResizeAugment
from tfrecords.augment.grey import GreyAugment
from tfrecords.augment.jitter import JitterAugment
from tfrecords.augment.solarise import SolariseAugment


class Recipe:
    """Crop, mirror, jitter, grey, blur, solarise: `count` views of each image at once.

    Args:    count: views.  size, area: of the crop.  jitter: (brightness, contrast, saturation, hue) of four in five
             views.  blur, solarise: share of the views.
    Call:    images [b,H,W,C], seed [2], strength.
    Returns: [b,count,h,w,C].
    """

    def __init__(self, count, size, area, jitter, blur=0.0, solarise=0.0):
        self.count = count
        self.crop = CropResizeAugment(area=area, size=size, flip=0.5)
        brightness, contrast, saturation, hue = jitter
        self.steps = [JitterAugment(brightness, contrast, saturation, hue, share=0.8, law="linear"), GreyAugment()]
        self.steps += [BlurAugment(blur)] if blur else []
        self.steps += [SolariseAugment(solarise)] if solarise else []

    def __call__(self, images, seed, strength):
        seeds = tf.unstack(tf.random.experimental.stateless_split(seed, len(self.steps) + 1))
        views = self.crop.views(images, seeds[0], strength, self.count)
        for step, own in zip(self.steps, seeds[1:]):
            views = step(views, own, strength)
        return tf.reshape(views, [-1, self.count, *views.shape[1:]])
