"""Handwritten digits as patients of two classes, and a small diagnosis config for them."""

import numpy as np

from keras_apps.configs.small_sample_diagnosis.sssnet_100 import get_config as sssnet
from tests.keras_apps.fakes import changed, digits
from tests.tfrecords.drawn import Drawn
from tfrecords.write import write


def write_patients(folder, kinds=(3, 8), most=120, images_a_case=3, splits=False, unlabelled=0):
    """Digits of these kinds; each case is a few images of one class, every second case is of cohort `hard`.

    Args:    unlabelled: images behind them that have no label.
    """
    images, target = digits()
    rows = np.concatenate([np.flatnonzero(target == kind)[:most] for kind in kinds])
    columns = []
    for place, row in enumerate(rows):
        case = f"{target[row]}-{place % most // images_a_case}"
        number = place % most // images_a_case
        columns.append({"label": f"d{target[row]}", "case": case, "cohort": "hard" if number % 2 else "typical"})
        if splits:
            columns[-1]["split"] = ("train", "train", "train", "val", "test")[number % 5]
    more = np.flatnonzero(target == kinds[0])[most:most + unlabelled]
    columns += [{"split": "train"} if splits else {}] * len(more)
    write([Drawn(images[np.concatenate([rows, more])], columns)], folder, shards=2)
    return str(folder)


def small_diagnosis(**changes):
    """SSSNet's config cut down to images of 8 pixels and 12 steps of 16."""
    config = sssnet()
    config.update({
        "steps": 12, "batch": 16, "checkpoint_every": 12, "log_every": 1, "size": 8, "labels": 0, "classes": (),
        "class_names": {"d3": "three", "d8": "eight"}, "positive": "", "deal": (0, 0.2, 0.3), "embedding": 16,
        "backbone": "small_cnn(widths=(8, 8, 16), pool_last=False)", "view_batch": 16, "ema": 0.5,
        "views": "simclr(area=(0.5, 1.0))"})
    config.data.update({"train_split": "", "validation_split": "", "test_split": "", "augment": ()})
    return changed(config, changes)
