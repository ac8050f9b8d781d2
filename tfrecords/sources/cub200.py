"""Caltech-UCSD Birds-200-2011."""

from tfrecords.files import Files, shortened
from tfrecords.sources._rows import Rows, listed, require

_SPLITS = {"1": "train", "0": "test"}


class Cub200Source(Rows):
    """CUB_200_2011 with images/ and its lists, each line a number and what it says of the image of that number.

    The columns: label = the class's name in classes.txt (where that is missing, its number), split, bbox as the list
    has it. Metric learning usually takes the first 100 classes for training and the others for testing instead of the
    split. Parts and attributes are not read.

    Args:    location: folder or zip with images.txt, image_class_labels.txt, train_test_split.txt, bounding_boxes.txt.
    Raises:  FileNotFoundError or ValueError for a missing list, a line that names a missing image, an image that a
             list lacks or has twice.
    Source:  Wah et al., The Caltech-UCSD Birds-200-2011 Dataset, CNS-TR-2011-001.
    """

    def __init__(self, location):
        files = Files(location)
        root = files.above("images.txt", "CUB-200-2011")
        images = _table(files, f"{root}images.txt")
        classes = _table(files, f"{root}classes.txt") if f"{root}classes.txt" in files else {}
        labels, splits, boxes = (_table(files, f"{root}{name}.txt", images)
                                 for name in ("image_class_labels", "train_test_split", "bounding_boxes"))
        rows = []
        for number, (line, name) in images.items():
            path = f"{root}images/{name}"
            require(path, files, line, f"{root}images.txt")
            split_line, split = splits[number]
            if split not in _SPLITS:
                raise ValueError(f"line {split_line} of `{root}train_test_split.txt` says {shortened(split)!r} but "
                                 "must say 1 (train) or 0 (test).")
            label = labels[number][1]
            rows.append((path, classes.get(label, ("", label))[1], _SPLITS[split], boxes[number][1]))
        super().__init__("cub200", files, ("label", "split", "bbox"), rows)


def _table(files, place, images=None):
    """{number: (line, what the list says)}; of all images, where these are given."""
    found = {}
    for line, (number, value) in listed(files, place, 2):
        if number in found:
            raise ValueError(f"line {line} of `{place}` says something of number {shortened(number)} again; repair or "
                             "download the list again.")
        found[number] = line, value
    missing = next((number for number in images or () if number not in found), None)
    if missing is not None:
        raise ValueError(f"`{place}` says nothing of image {shortened(missing)}; repair or download the list again.")
    return found
