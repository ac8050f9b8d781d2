"""Prepared data sets of tensorflow_datasets, by name."""

import functools
import zlib

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from tensorflow_datasets.core import read_only_builder

from tfrecords import schema
from tfrecords.files import shortened

_USUAL = {"train": 0, "validation": 1, "val": 1, "test": 2}
_ENCODED = (np.uint8, np.uint16)            # dtypes whose stored bytes are the image; float32 is packed into a PNG


class TfdsSource:
    """The images of a data set that lies prepared on the disk, split by split (train, validation, test, others).

    The columns: split and label, by the class's name. Images are handed on as they are stored, without being decoded.
    Nothing is ever downloaded here and no code of the data set runs; how a data set is downloaded was not tried.

    Args:    name: as in tfds.load: mnist, mnist:3.*.*, name/config, name/config:1.0.0.
             data_dir: where data sets lie; "" = tensorflow_datasets' own place.
    Raises:  ValueError for a data set that is not prepared there, or has no image or several of other names than
             `image`.
    """

    def __init__(self, name, data_dir=""):
        self.description = {"source": "tfds", "location": name.split("/")[0].split(":")[0]}
        builder = _found(name, data_dir)
        self._folder = str(builder.data_path)
        self.description["version"] = builder.info.full_name
        self._image = _only(builder.info.features, tfds.features.Image, "image")
        self._label = _only(builder.info.features, tfds.features.ClassLabel, "label")
        if self._image is None:
            kinds = ", ".join(f"{key} ({type(value).__name__})" for key, value in dict(builder.info.features).items())
            raise ValueError(f"`{name}` has the features {kinds} but must have one image, or of several one called "
                             "`image`; write it by a source of your own.")
        self._counts = {split: builder.info.splits[split].num_examples
                        for split in sorted(builder.info.splits, key=lambda split: (_USUAL.get(split, 3), split))}

    def __len__(self):
        return sum(self._counts.values())

    def __iter__(self):
        builder = tfds.builder_from_directory(self._folder)
        features = builder.info.features
        names = features[self._label].int2str if self._label else None
        wanted = {key: True for key in (self._image, self._label) if key}
        encoded = np.dtype(features[self._image].np_dtype) in _ENCODED
        decoders = tfds.decode.PartialDecoding(
            wanted, decoders={self._image: tfds.decode.SkipDecoding()} if encoded else None)
        for split in self._counts:
            examples = builder.as_dataset(
                split=split, shuffle_files=False, decoders=decoders,
                read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False))
            for number, example in enumerate(self._read(examples)):
                image, columns = example[self._image], {"split": split}
                if names and example[self._label] >= 0:     # -1 = the example has none
                    columns["label"] = names(int(example[self._label]))
                data = image if isinstance(image, bytes) else image.tobytes()
                yield schema.Item(f"{builder.info.full_name}/{split}/{number}", functools.partial(_same, image),
                                  columns, stamp=f"{zlib.crc32(data):08x}-{len(data)}")

    def _read(self, examples):
        try:
            yield from examples.as_numpy_iterator()
        except tf.errors.OpError as error:
            raise OSError(f"the data set in `{self._folder}` cannot be read: {shortened(error.message)}; prepare it "
                          "again.") from None


def _found(name, data_dir):
    try:
        return read_only_builder.builder_from_files(name, **({"data_dir": data_dir} if data_dir else {}))
    except (tfds.core.DatasetNotFoundError, ValueError, AssertionError, OSError) as error:
        where = f"`{data_dir}`" if data_dir else "tensorflow_datasets' own folder"
        many = f" ({error})" if "multiple locations" in str(error) else ""
        raise ValueError(f"the data set {name!r} does not lie prepared in {where}{many}; prepare it by `tfds build` or "
                         "tfds.load, or give its folder by `data_dir`.") from None


def _only(features, kind, usual):
    """The name of the only feature of a kind, of several the usual one; None where there is none."""
    names = [name for name, feature in dict(features).items() if isinstance(feature, kind)]
    return names[0] if len(names) == 1 else usual if usual in names else None


def _same(image):
    return image
