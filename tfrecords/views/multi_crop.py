"""Multi-crop: few large views, many small ones."""

import tensorflow as tf

from tfrecords.views._recipe import Recipe


class MultiCropViews:
    """Groups of crops, each of its own number, size and share of the image, augmented as in DINO.

    All: mirrored in one of two, jittered in four of five (0.4, 0.4, 0.2, 0.1), grey in one of five. The first view, the
    second and the further ones differ in how often they are blurred; the second alone is solarised.

    Args:    crops: a (views, size in pixels, (smallest, largest) area) for each group.
             blur: shares of the first view, the second and the further ones, in [0, 1].
             solarise: share of the second view, in [0, 1].
             colour: scales the jitter's ranges, in [0, 1].
    Call:    images [b,H,W,C] in [0, 1], seed [2] int32, strength in [0, 1].
    Returns: a tuple with a [b,V,size,size,C] in [0, 1] for each group.
    Raises:  ValueError for no group, a group of no view, a size < 1, a share or colour outside [0, 1], and what
             crop_resize refuses.
    Source:  Caron et al., ICCV 2021, arXiv:2104.14294, after Caron et al., NeurIPS 2020, arXiv:2006.09882.
    Differs: as jitter, crop_resize and blur do.
    """

    def __init__(self, crops=((2, 32, (0.25, 1.0)), (6, 16, (0.05, 0.25))), blur=(1.0, 0.1, 0.5), solarise=0.2,
                 colour=1.0):
        if not crops or any(len(group) != 3 or min(group[:2]) < 1 for group in crops):
            raise ValueError(f"`crops` is {crops} but must be groups of (views, pixels, (smallest, largest) area) with "
                             "views and pixels >= 1.")
        if len(blur) != 3 or not all(0 <= share <= 1 for share in blur):
            raise ValueError(f"`blur` is {blur} but must be three shares in [0, 1]: of the first view, the second and "
                             "the further ones.")
        if not 0 <= solarise <= 1 or not 0 <= colour <= 1:
            raise ValueError(f"multi_crop(solarise={solarise}, colour={colour}) needs both in [0, 1].")
        jitter = [colour * most for most in (0.4, 0.4, 0.2, 0.1)]
        self.groups, view = [], 0
        for count, size, area in crops:
            # Views of one recipe are made together: the first, the second, all further ones.
            kinds = [min(number, 2) for number in range(view, view + count)]
            self.groups.append([Recipe(kinds.count(kind), size, area, jitter, blur[kind], solarise * (kind == 1))
                                for kind in sorted(set(kinds))])
            view += count

    def __call__(self, images, seed, strength=1.0):
        seeds = iter(tf.unstack(tf.random.experimental.stateless_split(seed, sum(map(len, self.groups)))))
        groups = [[recipe(images, next(seeds), strength) for recipe in group] for group in self.groups]
        return tuple(parts[0] if len(parts) == 1 else tf.concat(parts, axis=1) for parts in groups)
