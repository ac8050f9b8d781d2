"""P9: JPEGs from TFRecord shards to random crops, flipped and normalised."""

import functools
import io
import math
import pathlib
import tempfile
import time

import numpy as np

from benchmarks.pictures import textures
from benchmarks.row import Peer, Row

HEIGHT, WIDTH, SIDE = 375, 500, 224
AREA, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
MEAN, DEVIATION = np.float32((0.485, 0.456, 0.406)), np.float32((0.229, 0.224, 0.225))
BATCH = 32
COMPARED = 64       # images
TINY = {"images": 4}


def inputs(images):
    """JPEGs of quality 90 and 4:2:0, one after the other with their ends; boxes and flips for the comparison."""
    from PIL import Image

    jpegs = []
    for picture in textures(images, HEIGHT, WIDTH):
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, "JPEG", quality=90, subsampling=2)
        jpegs.append(stream.getvalue())
    random = np.random.default_rng(0)
    boxes = []
    while len(boxes) < min(images, COMPARED):
        root, stretch = (random.uniform(*AREA) * HEIGHT * WIDTH) ** 0.5, math.exp(random.uniform(*np.log(RATIO)) / 2)
        height, width = round(root / stretch), round(root * stretch)
        if height <= HEIGHT and width <= WIDTH:
            boxes.append((random.integers(HEIGHT - height + 1), random.integers(WIDTH - width + 1), height, width))
    return {"bytes": np.frombuffer(b"".join(jpegs), np.uint8), "ends": np.cumsum([len(jpeg) for jpeg in jpegs]),
            "boxes": np.int32(boxes), "flips": random.random(len(boxes)) < 0.5}


def files(arrays):
    """The JPEGs: list of bytes."""
    data = arrays["bytes"].tobytes()
    return [data[start:end] for start, end in zip([0, *arrays["ends"]], arrays["ends"])]


class Source:
    """The JPEGs as a source of `tfrecords.write`."""

    def __init__(self, jpegs):
        self.description, self.jpegs = {"source": "textures"}, jpegs

    def __len__(self):
        return len(self.jpegs)

    def __iter__(self):
        from tfrecords.schema import Item

        for number, jpeg in enumerate(self.jpegs):
            yield Item(f"{number}.jpg", functools.partial(bytes, jpeg), {})


def normalise(images, seed=None, strength=1.0):
    """An augmentation: (x - mean) / deviation."""
    import tensorflow as tf

    del seed, strength
    # Constants as wide as a line of pixels: TensorFlow is three times slower with three numbers.
    factor, shift = np.tile(1.0 / DEVIATION, SIDE), np.tile(MEAN / DEVIATION, SIDE)
    return tf.reshape(tf.reshape(images, [-1, SIDE, 3 * SIDE]) * factor - shift, tf.shape(images))


class Ours:
    """The suite's own pipeline: shards, sampler, crops, batches."""

    def __init__(self, arrays):
        from tfrecords.augment.crop_resize import CropResizeAugment
        from tfrecords.batch import Batches, Images, Table
        from tfrecords.decode import Decoder
        from tfrecords.read import Records
        from tfrecords.samplers.shuffle import ShuffleSampler
        from tfrecords.write import write

        self.arrays, self.jpegs, self.calls = arrays, files(arrays), 0
        self.batch = min(BATCH, len(self.jpegs))
        self.folder = tempfile.TemporaryDirectory()
        data = pathlib.Path(self.folder.name, "textures")
        write([Source(self.jpegs)], data)
        records = Records(data)
        self.decoder, self.crop = Decoder.of(records.manifest, SIDE), CropResizeAugment(AREA, RATIO, flip=0.5)
        table = Table(np.arange(len(records)), np.full(len(records), -1))
        batches = Batches(Images(records, self.decoder), table, ShuffleSampler(self.batch),
                          augment=(normalise,), crop=self.crop)
        self.batches = iter(batches.dataset(0))

    def call(self):
        steps = len(self.jpegs) // self.batch
        for _ in range(steps):
            next(self.batches)
        # The pipeline reads ahead: a call ends when that is done, so that each pays for as much as it takes.
        spent = -math.inf
        while time.process_time() - spent > 0.005:
            spent = time.process_time()
            time.sleep(0.1)
        return steps * self.batch

    def bound(self):
        """Decoding alone, of the same crops."""
        import tensorflow as tf

        self.calls += 1
        sides = (tf.fill([len(self.jpegs)], side) for side in (HEIGHT, WIDTH))
        for jpeg, box in zip(self.jpegs, tf.abs(self.crop.boxes(*sides, [0, self.calls]))):
            tf.io.decode_and_crop_jpeg(jpeg, box, channels=3, dct_method="INTEGER_ACCURATE")
        return len(self.jpegs)

    def result(self):
        import tensorflow as tf

        boxes, flips = self.arrays["boxes"].copy(), self.arrays["flips"]
        boxes[flips, 3] *= -1
        crop = tf.function(self.decoder.crop)
        crops = tf.stack([crop(tf.constant(jpeg), tf.constant(box)) for jpeg, box in zip(self.jpegs, boxes)])
        return {"pixels": normalise(crops).numpy()}


class PillowWorker:
    """What a DataLoader's worker does: PIL and torchvision on each image, then the batch."""

    def __init__(self, arrays):
        import torch
        from PIL import Image

        from benchmarks.cpu_torchvision import transforms

        self.arrays, self.jpegs, self.open = arrays, files(arrays), Image.open
        self.functional = transforms.functional
        self.finish = transforms.Compose([
            transforms.ToTensor(), transforms.Normalize(MEAN.tolist(), DEVIATION.tolist())])
        self.augment = transforms.Compose([transforms.RandomResizedCrop(SIDE, AREA, RATIO),
                                           transforms.RandomHorizontalFlip(), self.finish])
        self.loader = torch.utils.data.DataLoader(self, batch_size=BATCH, shuffle=True)

    def __len__(self):
        return len(self.jpegs)

    def __getitem__(self, number):
        return self.augment(self._image(number))

    def _image(self, number):
        return self.open(io.BytesIO(self.jpegs[number])).convert("RGB")

    def call(self):
        return sum(len(batch) for batch in self.loader)

    def result(self):
        found = []
        for number, (box, flip) in enumerate(zip(self.arrays["boxes"].tolist(), self.arrays["flips"])):
            image = self.functional.resized_crop(self._image(number), *box, [SIDE, SIDE])
            found.append(self.finish(self.functional.hflip(image) if flip else image).numpy().transpose(1, 2, 0))
        return {"pixels": np.stack(found)}


def equal(arrays, ours, peer):
    """Mean difference of a pixel, of 255 levels."""
    del arrays
    return np.mean(np.abs(ours["pixels"] - peer["pixels"]) * DEVIATION) * 255.0


def row(images=256):
    return Row(
        work=f"{images} JPEGs of {WIDTH} x {HEIGHT}, quality 90, 4:2:0 (textures, 57 KB on average), to crops of "
             f"{SIDE} px, flipped and normalised, batches of {BATCH}; limit: decoding the crops alone, measured; "
             f"equal: mean difference in levels of 255 for the same {COMPARED} boxes and flips (0.3: Pillow rounds)",
        unit="images/cpu-s",
        inputs=functools.partial(inputs, images),
        ours=Ours,
        peers={"torchvision": Peer(PillowWorker, tolerance=0.35)},
        headline="torchvision",
        equal=equal,
    )
