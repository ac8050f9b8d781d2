"""Which images a restorer trains on, which it restores to be judged, and which are searched for them."""

import numpy as np

from keras_apps import splits


def select(images, config, named):
    """Rows by identity (see `splits.select`), without identities by image; and the gallery.

    The gallery holds one whole image of every identity, or, with `query_camera`, those of the other cameras; the
    held-out images that are not in it are restored.

    Args:    named: whether identities must be known. If not, and nobody can be searched, as there are no two persons
             or none of two images that is held out, the images are taken as they are.
    Returns: labels, {"train", "test", "gallery", ...: Split}, names, as `App.select` does.
    Raises:  ValueError where nothing is left to train on or to judge by, or for an unknown camera.
    """
    records = images.records
    counts = np.bincount(records.column("identity") + 1)[1:] if records.has("identity") else np.zeros(0, int)
    if not named and (np.count_nonzero(counts) < 2 or counts.max() < 2):
        return _unnamed(images, config)
    labels, found, names = splits.select(images, config)
    free = not named and not config.data.train_identities
    if "test" not in found and free:
        return _unnamed(images, config)
    if "test" not in found:
        raise ValueError(f"no image in {records.directory} is held out to judge by: of its {len(counts)} "
                         f"identities {np.count_nonzero(counts > 1)} have 2 images or more, of which some are "
                         "trained on and some held back; add images, or set `data.holdout` or "
                         "`data.train_identities`.")
    identities = records.column("identity")
    if config.query_camera:
        gallery, asking = _by_camera(records, config.query_camera)
    else:
        gallery = np.zeros(records.count, bool)
        gallery[np.unique(identities, return_index=True)[1]] = True     # the first image of each
        asking = ~gallery
    gallery &= identities >= 0
    test = found["test"]
    test = test.only(asking[test.rows] & np.isin(test.identities, identities[gallery]))
    if not len(test.rows) and free:
        return _unnamed(images, config)
    if not len(test.rows):
        raise ValueError(f"no image in {records.directory} is left to restore: of the held-out identities each "
                         "gives one image to the gallery and none asks; add images of them.")
    rows = np.flatnonzero(gallery)
    found["test"] = test
    found["gallery"] = splits.Split(images, rows, identities[rows], test.names, False)
    return labels, found, names


def _unnamed(images, config):
    """Without identities every image is by itself, and nobody is recognised."""
    records = images.records
    train, validation, test = splits.dealt(records, config.data)
    for key, mask in (("train on", train), ("judge by", test)):
        if not mask.any():
            raise ValueError(f"the data in {records.directory} leave no image to {key}; give two photos or more, or "
                             "check `data.holdout`, `data.train_split` and `data.test_split`.")
    labels = np.where(train, 0, -1).astype(np.int32)
    found = {name: splits.Split(images, np.flatnonzero(mask), np.full(mask.sum(), -1), ["image"], True)
             for name, mask in (("train", train), ("validation", validation), ("test", test)) if mask.any()}
    found["test"] = found["test"].spread(config.data.test_images)
    return labels, found, ["image"]


def _by_camera(records, name):
    """The rows that are searched, and those that ask."""
    names = records.names("camera") if records.has("camera") else []
    if name not in names:
        raise ValueError(f"`query_camera` is {name!r} but the data in {records.directory} have the cameras {names}; "
                         "name one of them, or leave it \"\".")
    cameras = records.column("camera")
    return (cameras >= 0) & (cameras != names.index(name)), cameras == names.index(name)
