"""Image arrays in an .npz file."""

import functools
import os
import zipfile

import numpy as np
import tensorflow as tf

from tfrecords import schema

_MOST_BYTES = 16 * 2 ** 30


class NpzSource:
    """The images of NumPy arrays, as PNG, in stored order.

    `images` and `labels`, or per split `<split>_images` and `<split>_labels`, the splits in the order train,
    val, test, then others. The labels may be missing. Only one image array is in memory at a time.

    Args:    file: .npz with images uint8 [N, H, W] or [N, H, W, C] and labels integer [N] or [N, 1].
    Raises:  FileNotFoundError or ValueError for a file without such arrays.
    """

    def __init__(self, file):
        file = os.path.expanduser(str(file))
        self._file = file
        self._stem = os.path.splitext(os.path.basename(file))[0]
        self.description = {"source": "npz", "location": os.path.basename(file)}
        shapes = _shapes(file)
        self._parts = []                                    # (split, images key, labels key or None, count)
        usual = {"": 0, "train": 1, "val": 2, "test": 3}
        splits = [key.removesuffix("images").removesuffix("_") for key in shapes
                  if key == "images" or key.endswith("_images")]
        for split in sorted(splits, key=lambda split: (usual.get(split, 4), split)):
            images, labels = (f"{split}_{kind}" if split else kind for kind in ("images", "labels"))
            count = _checked(file, images, labels, shapes)
            self._parts.append((split, images, labels if labels in shapes else None, count))
        if not self._parts:
            raise ValueError(f"`{file}` has the arrays {', '.join(shapes) or '(none)'} but must have "
                             "`images` or `<split>_images`; rename them.")

    def __len__(self):
        return sum(count for *_, count in self._parts)

    def __iter__(self):
        for part in self._parts:
            yield from self._items(*part)

    def _items(self, split, images_key, labels_key, count):
        with np.load(self._file, allow_pickle=False) as arrays:
            images = arrays[images_key]
            labels = arrays[labels_key].reshape(-1) if labels_key else None
        for i in range(count):
            columns = {"split": split} if split else {}
            if labels is not None:
                columns["label"] = int(labels[i])
            path = "/".join(part for part in (self._stem, split, f"{i}.png") if part)
            yield schema.Item(path, functools.partial(_png, images[i]), columns)


def _shapes(file):
    """{array: (shape, dtype)} from the headers alone."""
    if not os.path.isfile(file):
        raise FileNotFoundError(f"`{file}` does not exist; give an .npz file.")
    try:
        with zipfile.ZipFile(file) as archive:
            shapes = {}
            for name in archive.namelist():
                with archive.open(name) as stream:
                    major, _ = np.lib.format.read_magic(stream)
                    read = {1: np.lib.format.read_array_header_1_0,
                            2: np.lib.format.read_array_header_2_0}[major]
                    shape, _, dtype = read(stream)
                    shapes[name.removesuffix(".npy")] = shape, dtype
            return shapes
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError, RuntimeError):
        raise ValueError(f"`{file}` is not an .npz file of arrays; write it with numpy.savez.") from None


def _checked(file, images, labels, shapes):
    """The number of images of one part."""
    shape, dtype = shapes[images]
    if dtype != np.uint8 or len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3, 4)):
        raise ValueError(f"`{images}` in `{file}` is {dtype} {list(shape)} but must be uint8 [N, H, W] or "
                         "[N, H, W, C] with C of 1, 3 or 4.")
    if int(np.prod([int(side) for side in shape], dtype=object)) > _MOST_BYTES:
        raise ValueError(f"`{images}` in `{file}` is {list(shape)}, more than {_MOST_BYTES:,} bytes; split "
                         "the file.")
    if labels in shapes:
        label_shape, label_dtype = shapes[labels]
        whole = label_dtype.kind in "iu" and label_shape in ((shape[0],), (shape[0], 1))
        if not whole:
            raise ValueError(f"`{labels}` in `{file}` is {label_dtype} {list(label_shape)} but must be whole "
                             f"numbers [{shape[0]}] or [{shape[0]}, 1], one an image.")
    return shape[0]


def _png(image):
    return tf.io.encode_png(image if image.ndim == 3 else image[..., None]).numpy()
