"""Market-1501: persons seen by six cameras."""

import re

from tfrecords.files import Files
from tfrecords.sources._rows import Rows, by_names

_NAME = re.compile(r"(?P<identity>-1|\d+)_c(?P<camera>\d+)s(?P<sequence>\d+)_(?P<frame>\d+)_\d+\.\w+")
_FOLDERS = {"bounding_box_train": ("train", "train"), "query": ("test", "query"),
            "bounding_box_test": ("test", "gallery")}
_JUNK, _BACKGROUND = "-1", "0000"


class Market1501Source(Rows):
    """bounding_box_train/, query/ and bounding_box_test/ of version 15.09.15, named like 0002_c1s1_000451_03.jpg.

    The columns: identity, camera, frame, track = identity, camera and sequence (0002_c1s1), split train or test, role
    train, query or gallery. False detections (0000) are of no identity and stay in the gallery, where they count as
    wrong answers. Junk (-1), which the protocol takes out of every ranking, has neither identity nor role. gt_bbox
    and gt_query are not read.

    Args:    location: folder or zip.
    Raises:  FileNotFoundError or ValueError where one of the folders is missing.
    Source:  Zheng et al., Scalable Person Re-identification: A Benchmark, ICCV 2015.
    """

    def __init__(self, location):
        files = Files(location)
        found, ignored = by_names(files, list(_FOLDERS), _NAME, "Market-1501")
        super().__init__("market1501", files, ("identity", "camera", "track", "frame", "split", "role"),
                         [(path, *_columns(folder, match)) for path, folder, match in found], ignored)


def _columns(folder, match):
    identity, camera, sequence, frame = match.groups()
    split, role = _FOLDERS[folder]
    track = f"{identity}_c{camera}s{sequence}"
    if identity in (_JUNK, _BACKGROUND):
        return "", camera, "", frame, split, "" if identity == _JUNK else role
    return identity, camera, track, frame, split, role
