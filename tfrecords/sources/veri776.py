"""VeRi-776: vehicles seen by twenty cameras."""

import re

from tfrecords.files import Files, lines, shortened
from tfrecords.sources._rows import Rows, by_names

_NAME = re.compile(r"(?P<identity>\d+)_c(?P<camera>\d+)_(?P<frame>\d+)_\d+\.\w+")
_WORD = re.compile(r"\S+")
_FOLDERS = {"image_train": ("train", "train"), "image_query": ("test", "query"), "image_test": ("test", "gallery")}


class Veri776Source(Rows):
    """image_train/, image_query/ and image_test/ of VeRi-776, named like 0002_c002_00030600_0.jpg.

    The columns: identity, camera, track, frame, split train or test, role train, query or gallery. The queries are
    images of image_test too, under the same names: an evaluation leaves out images of the query's own camera. Where
    test_track.txt lies beside the folders, each line names the images of one track, test_<number of the line>; a query
    is of the track of its name, which its own camera saw. train_track.txt likewise; other words of a line are passed
    over. Colours and types in train_label.xml and test_label.xml are not read.

    Args:    location: folder or zip.
    Raises:  FileNotFoundError or ValueError where one of the folders is missing; ValueError for an image in two lines
             of a list of tracks, a line with images of two vehicles or cameras and a list that names no image.
    Source:  Liu et al., A Deep Learning-Based Approach to Progressive Vehicle Re-identification, ECCV 2016.
    """

    def __init__(self, location):
        files = Files(location)
        found, ignored = by_names(files, list(_FOLDERS), _NAME, "VeRi-776")
        names = {split: {match[0]: match for _, folder, match in found if _FOLDERS[folder][0] == split}
                 for split in ("train", "test")}
        tracks = {split: _tracks(files, f"{files.above('image_train', 'VeRi-776')}{split}_track.txt", split, images)
                  for split, images in names.items()}
        rows = []
        for path, folder, match in found:
            identity, camera, frame = match.groups()
            split, role = _FOLDERS[folder]
            rows.append((path, identity, camera, tracks[split].get(match[0], ""), frame, split, role))
        super().__init__("veri776", files, ("identity", "camera", "track", "frame", "split", "role"), rows, ignored)


def _tracks(files, place, split, images):
    """{name of an image: its track}, {} where there is no list.   Args: images: {name: match of its name}."""
    found = {}
    if place not in files:
        return found
    for number, line in lines(files.document(place)):
        track, first = f"{split}_{number}", None
        for word in _WORD.finditer(line):       # one by one: a line may be as long as the file
            match = images.get(word[0])
            if match is None:
                continue
            told, first = f"line {number} of `{place}` names `{shortened(word[0])}`", first or match
            if found.setdefault(word[0], track) != track:
                raise ValueError(f"{told}, which is in line {found[word[0]].rpartition('_')[2]} already, but an image "
                                 "is of one track; repair the list or take it out of the folder.")
            if match["identity"] != first["identity"] or match["camera"] != first["camera"]:
                raise ValueError(f"{told} beside `{first[0]}` but a track is of one vehicle and one camera; repair the "
                                 "list or take it out of the folder.")
    if not found:
        raise ValueError(f"`{place}` in `{files.location}` names none of the {len(images):,} images, such as "
                         f"{next(iter(images))}; download it again or take it out of the folder.")
    return found
