"""VERI-Wild: vehicles seen by 174 cameras."""

from tfrecords.files import Files, shortened
from tfrecords.sources._rows import EXTENSIONS, Rows, listed, require

_LISTS = "train_test_split/"


class VeriWildSource(Rows):
    """images/<vehicle>/<image>.jpg, as listed in train_test_split/: a line is <vehicle>/<image>.

    The columns: identity, camera (of vehicle_info.txt, "<vehicle>/<image>;camera;..." under a header), split train
    or test, role train, query (test_<size>_query.txt) or gallery (test_<size>.txt). Images of neither list are left
    out and counted in `ignored`.

    Args:    location: folder or zip.  size: vehicles of the test lists: 3000, 5000 or 10000.
    Raises:  FileNotFoundError or ValueError for a missing list, a line that names a missing image or one without a
             camera, an image that is listed twice.
    Source:  Lou et al., VERI-Wild, CVPR 2019.
    """

    def __init__(self, location, size=3000):
        files = Files(location)
        root = files.above(f"{_LISTS}train_list.txt", "VERI-Wild")
        cameras = _cameras(files, f"{root}{_LISTS}vehicle_info.txt")
        rows = {}
        for name, split, role in (("train_list", "train", "train"), (f"test_{size}_query", "test", "query"),
                                  (f"test_{size}", "test", "gallery")):
            place = f"{root}{_LISTS}{name}.txt"
            for line, (image,) in listed(files, place, 1):
                image = image.removesuffix(".jpg")
                path = f"{root}images/{image}.jpg"
                require(path, files, line, place)
                if image not in cameras or path in rows:
                    fault = "is listed already" if path in rows else "has no camera in vehicle_info.txt"
                    raise ValueError(f"line {line} of `{place}`: `{shortened(image)}` {fault}; repair or download the "
                                     "lists again.")
                rows[path] = path, image.split("/")[0], cameras[image], split, role
        images = sum(path.startswith(f"{root}images/") and path.lower().endswith(EXTENSIONS) for path in files.paths)
        super().__init__("veri_wild", files, ("identity", "camera", "split", "role"), rows.values(),
                         images - len(rows))
        self.description["size"] = size


def _cameras(files, place):
    """{"<vehicle>/<image>": camera}"""
    found = {}
    for line, (text,) in listed(files, place, 1):
        fields = text.split(";")
        if line > 1:                                        # under the header
            if len(fields) < 2:
                raise ValueError(f"line {line} of `{place}` is {shortened(text)!r} but must begin "
                                 "<vehicle>/<image>;<camera>; repair or download the list again.")
            found[fields[0].strip()] = fields[1].strip()
    return found
