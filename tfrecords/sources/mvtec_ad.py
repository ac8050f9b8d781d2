"""MVTec AD: objects and textures with and without defects."""

import posixpath

from tfrecords.files import Files
from tfrecords.sources._rows import EXTENSIONS, Rows

_GOOD, _MASKS = "good", "ground_truth"


class MvtecAdSource(Rows):
    """<category>/train/good/, <category>/test/<defect>/ and <category>/ground_truth/<defect>/<image>_mask.png.

    The columns: label = the defect or "good", dataset = the category, split, and the mask of images with a defect.
    One category alone is taken too; it is then called as its folder or zip. Images with a defect but without a mask
    are counted in the description as `without_mask`, images elsewhere in `ignored`.

    Args:    location: folder or zip.
    Raises:  FileNotFoundError or ValueError where no category has train/good and test.
    Source:  Bergmann et al., MVTec AD, CVPR 2019.
    """

    def __init__(self, location):
        files = Files(location)
        paths = [path for path in files.paths if path.lower().endswith(EXTENSIONS)]
        masks = {posixpath.splitext(path)[0]: path for path in paths if _MASKS in path.split("/")[:-1]}
        rows, ignored, lacking = [], 0, 0
        for path in paths:
            folder, name = posixpath.split(path)
            above, _, label = folder.rpartition("/")
            above, _, split = above.rpartition("/")
            if split not in ("train", "test") or not label:
                ignored += _MASKS not in path.split("/")[:-1]
                continue
            category = posixpath.basename(above) or posixpath.splitext(files.name)[0]
            stem = posixpath.splitext(name)[0]
            mask = masks.get(posixpath.join(above, _MASKS, label, f"{stem}_mask"), "")
            lacking += label != _GOOD and not mask
            rows.append((path, label, category, split, mask))
        if {"train", "test"} - {split for _, _, _, split, _ in rows}:
            raise ValueError(f"`{location}` does not hold both <category>/train/good/ and <category>/test/<defect>/ "
                             "with images; give the folder or zip of MVTec AD as it is distributed.")
        super().__init__("mvtec_ad", files, ("label", "dataset", "split", "mask"), rows, ignored)
        self.description["without_mask"] = lacking
