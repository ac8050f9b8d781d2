"""P10: RandAugment with two operations an image."""

from benchmarks.augmented import SIZE, Batched, OneByOne, inputs, moments_differ
from benchmarks.row import Peer, Row

OPERATIONS, LEVEL, LEVELS = 2, 9, 30        # the usual magnitude 9 of 0..30
TINY = {"images": 6}


class Ours(Batched):
    def __init__(self, arrays):
        from tfrecords.augment.rand_augment import RandAugmentAugment

        super().__init__(arrays, RandAugmentAugment(operations=OPERATIONS, magnitude=LEVEL / LEVELS))


class Torchvision(OneByOne):
    def __init__(self, arrays):
        from benchmarks.cpu_torchvision import transforms

        augment, to_tensor = transforms.RandAugment(OPERATIONS, LEVEL, LEVELS + 1), transforms.ToTensor()
        super().__init__(arrays, lambda image: [to_tensor(augment(image))])


class KerasCv(Batched):
    """A layer that takes batches and goes image by image inside; ten operations, each of a range of its own."""

    def __init__(self, arrays):
        from keras_cv import layers

        augment = layers.RandAugment((0, 1), OPERATIONS, LEVEL / LEVELS, magnitude_stddev=0.0)
        super().__init__(arrays, lambda images, seed: augment(images), batches=1)


def row(images=10_000):
    return Row(
        work=f"RandAugment of {SIZE} px colour images, {OPERATIONS} operations of magnitude {LEVEL} of {LEVELS}; "
             f"limit: an estimate; equal: mean and deviation of the channels over {images} images",
        unit="images/cpu-s",
        inputs=inputs(images),
        ours=Ours,
        peers={"torchvision": Peer(Torchvision, tolerance=0.01), "keras-cv": Peer(KerasCv, tolerance=0.05, own=True)},
        headline="torchvision",
        equal=moments_differ,
        limit=60_000,
    )
