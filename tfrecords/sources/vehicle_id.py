"""PKU VehicleID: vehicles from in front and behind."""

import re

from tfrecords.files import Files, shortened
from tfrecords.sources._rows import EXTENSIONS, Rows, listed, require

_LISTS = "train_test_split/"


class VehicleIdSource(Rows):
    """image/<number>.jpg of VehicleID_V1.0, as listed in train_test_split/: a line is "<number> <vehicle>".

    The columns: identity, split train or test, role train. Test images have no role: the protocol draws one image a
    vehicle for the gallery, ten times anew. Images of neither list are left out and counted in `ignored`.

    Args:    location: folder or zip.  size: vehicles of the test list test_list_<size>.txt: 800, 1600, 2400 ...
    Raises:  FileNotFoundError or ValueError for a missing list, a line that names a missing image, an image that is
             listed twice.
    Source:  Liu et al., Deep Relative Distance Learning, CVPR 2016.
    """

    def __init__(self, location, size=800):
        files = Files(location)
        root = files.above(f"{_LISTS}train_list.txt", "VehicleID")
        rows = {}
        for name, split, role in (("train_list", "train", "train"), (f"test_list_{size}", "test", "")):
            place = f"{root}{_LISTS}{name}.txt"
            for line, (number, vehicle) in listed(files, place, 2):
                path = f"{root}image/{number}.jpg"
                require(path, files, line, place)
                if path in rows or not re.fullmatch(r"\d+", vehicle):
                    fault = "image is listed already" if path in rows else "vehicle is no number"
                    raise ValueError(f"line {line} of `{place}` is {shortened(f'{number} {vehicle}')!r} but its "
                                     f"{fault}; repair or download the lists again.")
                rows[path] = path, vehicle, split, role
        images = sum(path.startswith(f"{root}image/") and path.lower().endswith(EXTENSIONS) for path in files.paths)
        super().__init__("vehicle_id", files, ("identity", "split", "role"), rows.values(), images - len(rows))
        self.description["size"] = size
