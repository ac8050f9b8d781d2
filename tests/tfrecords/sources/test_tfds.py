import contextlib
import io

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from tests.tfrecords.sources.contract import check
from tfrecords.sources.tfds import TfdsSource

RANDOM = np.random.default_rng(0)
COUNTS = {"test": 2, "other": 1, "train": 5, "validation": 1}


def prepared(folder, features, examples):
    """Writes a data set `few` 1.2.0 with `examples` of each split."""
    class Few(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.2.0")
        __module__ = "few"              # with a dot in it tfds looks for the file through a package it does not need

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, manager):
            return {split: self._generate_examples(split) for split in examples}

        def _generate_examples(self, split):
            yield from enumerate(examples[split])

    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        Few(data_dir=str(folder)).download_and_prepare()
    return str(folder)


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """Two classes in four splits, and the pixels by split."""
    pixels = {split: [RANDOM.integers(0, 256, (3 + i, 4, 3), dtype=np.uint8) for i in range(count)]
              for split, count in COUNTS.items()}
    features = {"picture": tfds.features.Image(shape=(None, None, 3)), "note": tfds.features.Text(),
                "kind": tfds.features.ClassLabel(names=["cat", "dog"])}
    examples = {split: [{"picture": image, "note": "x", "kind": i % 2} for i, image in enumerate(images)]
                for split, images in pixels.items()}
    return prepared(tmp_path_factory.mktemp("tfds"), features, examples), pixels


def test_splits_in_order_labels_by_name_and_stored_bytes(colours):
    folder, pixels = colours
    source = TfdsSource("few", folder)
    items = check(source)
    assert [item.columns["split"] for item in items] == ["train"] * 5 + ["validation"] + ["test"] * 2 + ["other"]
    assert items[0].path == "few/1.2.0/train/0" and items[8].path == "few/1.2.0/other/0"
    assert source.description == {"source": "tfds", "location": "few", "version": "few/1.2.0"}
    for split, images in pixels.items():
        found = {}
        for item in items:
            if item.columns["split"] == split:
                assert item.read().startswith(b"\x89PNG")
                found[tf.io.decode_png(item.read()).numpy().tobytes()] = item.columns["label"]
        # The order within a split is tfds' own; each image has its label all the same.
        assert found == {image.tobytes(): ("cat", "dog")[i % 2] for i, image in enumerate(images)}


@pytest.mark.parametrize("name", ["few:1.2.0", "few:1.*.*"])
def test_versions(colours, name):
    assert len(TfdsSource(name, colours[0])) == 9


@pytest.mark.parametrize("name", ["few:2.*.*", "few/config", "mnist", "mnist:3.*.*", "a b!", "x:few", ""])
def test_what_is_not_prepared_is_refused_in_one_sentence(colours, name):
    with pytest.raises(ValueError, match=f"the data set '.*' does not lie prepared in `{colours[0]}`; prepare it by "
                                         "`tfds build` or tfds.load") as caught:
        TfdsSource(name, colours[0])
    assert "\n" not in str(caught.value)


def test_other_kinds_of_images(tmp_path):
    deep = RANDOM.integers(0, 2 ** 16, (4, 5, 1), dtype=np.uint16)
    real = RANDOM.random((4, 5, 1)).astype(np.float32)
    item, = check(TfdsSource("few", prepared(tmp_path / "deep", {
        "image": tfds.features.Image(shape=(4, 5, 1), dtype=np.uint16, encoding_format="png"),
        "mask": tfds.features.Image(shape=(4, 5, 1))}, {"train": [{"image": deep, "mask": deep.astype(np.uint8)}]})))
    np.testing.assert_array_equal(tf.io.decode_png(item.read(), dtype=tf.uint16), deep)
    assert item.columns == {"split": "train"}
    item, = check(TfdsSource("few", prepared(tmp_path / "real", {
        "image": tfds.features.Image(shape=(4, 5, 1), dtype=np.float32),
        "label": tfds.features.ClassLabel(names=["a"])}, {"train": [{"image": real, "label": -1}]})))
    np.testing.assert_array_equal(item.read(), real)
    assert item.columns == {"split": "train"}


def test_without_an_image_to_take(tmp_path):
    image = np.zeros((2, 2, 1), np.uint8)
    folder = prepared(tmp_path, {"left": tfds.features.Image(shape=(2, 2, 1)),
                                 "right": tfds.features.Image(shape=(2, 2, 1))},
                      {"train": [{"left": image, "right": image}]})
    with pytest.raises(ValueError, match=r"has the features left \(Image\), right \(Image\) but must have one image"):
        TfdsSource("few", folder)


def test_damaged_files_are_an_os_error(tmp_path):
    folder = prepared(tmp_path, {"image": tfds.features.Image(shape=(2, 2, 1))},
                      {"train": [{"image": np.zeros((2, 2, 1), np.uint8)}]})
    place, = tmp_path.rglob("*.tfrecord-*")
    place.write_bytes(place.read_bytes()[:-5])
    with pytest.raises(OSError, match="the data set in .* cannot be read: .*; prepare it again"):
        list(TfdsSource("few", folder))
