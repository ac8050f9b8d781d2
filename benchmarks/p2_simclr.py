"""P2: the two views of SimCLR."""

from benchmarks.augmented import SIZE, Batched, OneByOne, inputs, moments_differ
from benchmarks.row import Peer, Row

COLOUR, AREA = 0.5, (0.08, 1.0)     # strength of the jitter as for small images; share of the image in a crop
TINY = {"images": 6}


class Ours(Batched):
    def __init__(self, arrays):
        from tfrecords.augment.crop_resize import CropResizeAugment
        from tfrecords.views.simclr import SimclrViews

        crop = CropResizeAugment(area=AREA, flip=0.5)
        super().__init__(arrays, SimclrViews(views=2, colour=COLOUR, area=AREA, blur=0.0), views=2,
                         bound=lambda images, seed: crop.views(images, seed, 1.0, 2))


class Lightly(OneByOne):
    def __init__(self, arrays):
        from benchmarks import cpu_torchvision  # noqa: F401  isort: skip  before lightly imports torchvision
        from lightly.transforms import SimCLRTransform

        super().__init__(arrays, views=2, transform=SimCLRTransform(
            input_size=SIZE, cj_strength=COLOUR, min_scale=AREA[0], gaussian_blur=0.0, normalize=None))


class KerasCv(Batched):
    """Its layers take batches and go image by image inside."""

    def __init__(self, arrays):
        from keras_cv import layers

        # Its brightness is a shift, here as large as the factor's on mid grey; saturation f is given as f / (1 + f);
        # hue is in half turns.
        wide = 0.8 * COLOUR
        jitter = layers.RandomColorJitter((0, 255), brightness_factor=wide / 2, contrast_factor=wide,
                                          saturation_factor=((1 - wide) / (2 - wide), (1 + wide) / (2 + wide)),
                                          hue_factor=0.4 * COLOUR)
        view = layers.Augmenter([
            layers.RandomCropAndResize((SIZE, SIZE), crop_area_factor=AREA, aspect_ratio_factor=(3 / 4, 4 / 3)),
            layers.RandomFlip("horizontal"),
            layers.RandomApply(jitter, rate=0.8),
            layers.RandomApply(layers.Grayscale(output_channels=3), rate=0.2),
        ])
        super().__init__(arrays, lambda images, seed: (view(images * 255.0) / 255.0, view(images * 255.0) / 255.0),
                         batches=1, views=2)


def row(images=10_000):
    return Row(
        work=f"two views of {SIZE} px colour images: crop, flip, jitter of strength {COLOUR}, grey, no blur; limit: "
             f"our crops alone, measured; equal: mean and deviation of the channels over {images} images",
        unit="views/cpu-s",
        inputs=inputs(images),
        ours=Ours,
        peers={"lightly": Peer(Lightly, tolerance=0.01), "keras-cv": Peer(KerasCv, tolerance=0.03, own=True)},
        headline="lightly",
        equal=moments_differ,
    )
