"""P3: multi-crop, two large views and six small ones."""

from benchmarks.augmented import SIZE, Batched, OneByOne, inputs, moments_differ
from benchmarks.row import Peer, Row

LARGE, SMALL = (2, 32, (0.25, 1.0)), (6, 16, (0.05, 0.25))      # views, pixels, share of the image
BLUR, SOLARISE = (1.0, 0.1, 0.5), 0.2
TINY = {"images": 6}


class Ours(Batched):
    def __init__(self, arrays):
        from tfrecords.augment.crop_resize import CropResizeAugment
        from tfrecords.views.multi_crop import MultiCropViews

        def crops(images, seed):
            return tuple(CropResizeAugment(area, size=size, flip=0.5).views(images, seed, 1.0, count)
                         for count, size, area in (LARGE, SMALL))

        super().__init__(arrays, MultiCropViews((LARGE, SMALL), BLUR, SOLARISE, colour=1.0), bound=crops, batches=4)


class Lightly(OneByOne):
    def __init__(self, arrays):
        from benchmarks import cpu_torchvision  # noqa: F401  isort: skip  before lightly imports torchvision
        from lightly.transforms import DINOTransform

        # Half of its ranges of the jitter are the paper's 0.4, 0.4, 0.2 and 0.1.
        super().__init__(arrays, images=128, transform=DINOTransform(
            global_crop_size=LARGE[1], global_crop_scale=LARGE[2], local_crop_size=SMALL[1],
            local_crop_scale=SMALL[2], n_local_views=SMALL[0], cj_strength=0.5, gaussian_blur=BLUR,
            solarization_prob=SOLARISE, normalize=None))


def row(images=10_000):
    return Row(
        work=f"2 views of {LARGE[1]} px and 6 of {SMALL[1]} px from {SIZE} px colour images: crop, flip, jitter, grey, "
             "blur, solarise as in DINO; limit: our crops alone, measured; equal: mean and deviation of the channels "
             f"over {images} images",
        unit="images/cpu-s",
        inputs=inputs(images),
        ours=Ours,
        peers={"lightly": Peer(Lightly, tolerance=0.01)},
        headline="lightly",
        equal=moments_differ,
    )
