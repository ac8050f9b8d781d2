"""Pascal VOC annotations: every box of a field becomes an image."""

import collections
import functools
import math
import posixpath
from xml.etree import ElementTree

from tfrecords import schema
from tfrecords.cuts import Whole
from tfrecords.files import Files, shortened
from tfrecords.sources import _lists
from tfrecords.sources._rows import EXTENSIONS

_ANNOTATIONS, _IMAGES = "Annotations", "JPEGImages"
_LARGEST = 16 * 2 ** 20                     # bytes of an annotation


class VocSource:
    """The boxes of Annotations/*.xml, cut from JPEGImages/ of the same names when they are read.

    Where there is no folder Annotations, all XML files count, each beside its image. The columns: label = the
    object's name, case = the field, by its file name (with its path where fields of several folders are called the
    same), bbox = the box that is cut, split = that of the list which names the field. The path is the field's with
    "#" and the object's number, from 0, in the XML.

    VOC counts pixels from 1 and both corners belong to the box: x = xmin - 1, width = xmax - xmin + 1, the same
    downward. A box is enlarged by the margin, then clipped to the size that the XML gives. Boxes without area
    (xmax <= xmin or ymax <= ymin) or outside of the field, and those of fields that are in no list, are left out and
    counted in `ignored`.

    Args:    location: directory or zip.
             lists: {split: file}, as in FolderSource, such as {"train": "ImageSets/Main/train.txt"}.
             margin: share of the box's width and height that is added on each side, at least 0.
    Raises:  OSError or ValueError for annotations that cannot be read or whose image is missing.
    Source:  Everingham et al., The Pascal Visual Object Classes Challenge, IJCV 2010.
    """

    def __init__(self, location, lists=None, margin=0.0):
        if not (math.isfinite(margin) and margin >= 0):
            raise ValueError(f"`margin` is {margin} but must be a share of the box's sides, at least 0.")
        self._files = Files(location)
        self.description = {"source": "voc", "location": self._files.name, "cut": True}
        if margin:
            self.description["margin"] = margin
        fields = self._fields(location)
        splits = dict.fromkeys(fields, "")
        if lists:
            images = [path for path in self._files.paths if path.lower().endswith(EXTENSIONS)]
            splits = _lists.splits_by(lists, self._files, list(fields), images)
            self.description |= _lists.facts(lists)
        stems = collections.Counter(map(_stem, fields))
        self._boxes, self.ignored = [], 0                   # (image, object's number, label, box, case, split)
        for image, annotation in fields.items():
            case = _stem(image) if stems[_stem(image)] == 1 else posixpath.splitext(image)[0]
            for number, label, box in _objects(annotation, self._files.document(annotation), margin):
                if box is None or image not in splits:
                    self.ignored += 1
                else:
                    self._boxes.append((image, number, label, box, case, splits[image]))
        if not self._boxes:
            raise ValueError(f"the {len(fields):,} annotations of `{location}` hold no box that can be used; give "
                             "others" + (" or other lists." if lists else "."))

    def __len__(self):
        return len(self._boxes)

    def __iter__(self):
        last = whole = stamp = None
        for image, number, label, box, case, split in self._boxes:
            if image != last:                               # a field is decoded once for all its boxes
                last, whole = image, Whole(functools.partial(self._files.read, image))
                stamp = self._files.stamp(image)
            columns = {"label": label, "case": case, "bbox": box, **({"split": split} if split else {})}
            yield schema.Item(f"{image}#{number}", functools.partial(whole.cut, box), columns,
                              stamp=f"{stamp} {' '.join(f'{side:g}' for side in box)}")

    def _fields(self, location):
        """{image: annotation}"""
        annotations = [path for path in self._files.paths if path.lower().endswith(".xml")]
        if not annotations:
            raise ValueError(f"`{location}` holds no XML file; give a folder or zip with {_ANNOTATIONS}/ and "
                             f"{_IMAGES}/.")
        apart = [path for path in annotations if posixpath.basename(posixpath.dirname(path)) == _ANNOTATIONS]
        images = {posixpath.splitext(path)[0]: path for path in reversed(self._files.paths)
                  if path.lower().endswith(EXTENSIONS)}
        fields = {}
        for path in apart or annotations:
            folder = posixpath.join(posixpath.dirname(posixpath.dirname(path)), _IMAGES) if apart else (
                posixpath.dirname(path))
            stem = posixpath.join(folder, _stem(path))
            if stem not in images:
                raise ValueError(f"the annotation `{shortened(path)}` has no image `{shortened(stem)}.jpg` or the "
                                 "like; add the image or take the annotation away.")
            fields[images[stem]] = path
        return fields


def _stem(path):
    return posixpath.splitext(posixpath.basename(path))[0]


def _objects(path, data, margin):
    """(number, name, box or None) of each object in an annotation."""
    root = _parsed(path, data)
    size = root.find("size")
    # Some programs leave the size out or write 0; the crop is clipped to the pixels all the same.
    sides = [_number(size, side) or math.inf for side in ("width", "height")] if size is not None else [math.inf] * 2
    for number, found in enumerate(root.findall("object")):
        name = (found.findtext("name") or "").strip()
        corners = found.find("bndbox")
        place = [_number(corners, side) for side in ("xmin", "ymin", "xmax", "ymax")] if corners is not None else [None]
        if not name or None in place:
            raise ValueError(f"object {number} of `{shortened(path)}` has no name or no box of four numbers; repair "
                             "the annotation.")
        left, top, right, bottom = place
        box = None
        if right > left and bottom > top:
            across, down = margin * (right - left + 1), margin * (bottom - top + 1)
            left, right = max(0.0, left - 1 - across), min(sides[0], right + across)
            top, bottom = max(0.0, top - 1 - down), min(sides[1], bottom + down)
            if right > left and bottom > top:
                box = left, top, right - left, bottom - top
        yield number, name, box


def _number(element, name):
    """A finite number below an element, None where there is none."""
    try:
        number = float(element.findtext(name, "")[:100])
    except ValueError:
        return None
    return number if abs(number) < 1e9 else None


def _parsed(path, data):
    """The root of an annotation; entities, which can unpack to any size, are refused before anything is parsed."""
    if len(data) > _LARGEST:
        raise ValueError(f"`{shortened(path)}` has {len(data):,} bytes but an annotation may have {_LARGEST:,}.")
    # A zero byte means UTF-16 or -32, in which the words below would look otherwise.
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data or b"\0" in data:
        raise ValueError(f"`{shortened(path)}` has a document type or entities, or is not in UTF-8; an annotation must "
                         "be plain XML.")
    try:
        return ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise ValueError(f"`{shortened(path)}` is not XML: {error}; repair the annotation.") from None
