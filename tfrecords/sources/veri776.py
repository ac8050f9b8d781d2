"""VeRi-776: vehicles seen by twenty cameras."""

import re

from tfrecords.files import Files
from tfrecords.sources._rows import Rows, by_names

_NAME = re.compile(r"(?P<identity>\d+)_c(?P<camera>\d+)_(?P<frame>\d+)_\d+\.\w+")
_FOLDERS = {"image_train": ("train", "train"), "image_query": ("test", "query"), "image_test": ("test", "gallery")}


class Veri776Source(Rows):
    """image_train/, image_query/ and image_test/ of VeRi-776, named like 0002_c002_00030600_0.jpg.

    The columns: identity, camera, frame, split train or test, role train, query or gallery. The queries are images of
    image_test too, under the same names: an evaluation leaves out images of the query's own camera. Colours and types
    in train_label.xml and test_label.xml are not read.

    Args:    location: folder or zip.
    Raises:  FileNotFoundError or ValueError where one of the folders is missing.
    Source:  Liu et al., A Deep Learning-Based Approach to Progressive Vehicle Re-identification, ECCV 2016.
    """

    def __init__(self, location):
        files = Files(location)
        found, ignored = by_names(files, list(_FOLDERS), _NAME, "VeRi-776")
        super().__init__("veri776", files, ("identity", "camera", "frame", "split", "role"),
                         [(path, *match.groups(), *_FOLDERS[folder]) for path, folder, match in found], ignored)
