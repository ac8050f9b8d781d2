"""Images that a server was asked about: its request log, TFRecords of tensorflow_serving's PredictionLog."""

import functools
import glob
import hashlib
import itertools
import os
import re
import struct
import time

from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from tfrecords import schema
from tfrecords.files import MAX_BYTES, shortened

_HEAD, _FOOT = 12, 4            # bytes of a TFRecord before and behind its data
_INPUT = re.compile(r"image_bytes(_\d+)?")
_EXAMPLE = "image"              # feature of a tf.Example
_LATEST = 2 ** 33               # seconds; no clock of a server says more
_LOGS = ("predict_log", "classify_log", "regress_log", "multi_inference_log")


class PredictionLogSource:
    """The encoded images of all requests, in the order of files, requests and images; equal ones once.

    An image is what a Predict was sent as `image_bytes`, `image_bytes_1` or `image_bytes_2`, or the feature `image` of
    a tf.Example. Its path says when: "<file>/<UTC time>-<number of the request in the file>-<number of the image>". No
    column is set: what a model answered is no label. Left out, and counted in `ignored`, are images that came before
    and empty ones; the description tells `requests` and `repeated`. A file that ends within a record, as a killed
    server leaves it, is read up to there. Images as numbers (`image_tensor`) are passed over.

    Args:    location: file, folder with files *.tfrecord, or a pattern of file names, or several with commas between.
    Raises:  FileNotFoundError where nothing is there; ValueError for a damaged file, or one of other records, and where
             there is no image.
    """

    def __init__(self, location):
        location = os.path.expanduser(str(location))
        self.description = {"source": "prediction_log", "location": os.path.basename(os.path.abspath(location))}
        self._rows, self.ignored, seen = [], 0, set()       # (path, file, offset, length, number of the image, digest)
        stems, requests = {}, 0
        for file in _files(location):
            stem = os.path.splitext(os.path.basename(file))[0]
            stems[stem] = stems.get(stem, 0) + 1
            stem += f"#{stems[stem]}" if stems[stem] > 1 else ""
            for number, (offset, data) in enumerate(_records(file)):
                log = _parsed(data, file, offset)
                requests += log.WhichOneof("log_type") in _LOGS
                for place, image in enumerate(_images(log)):
                    digest = _digest(image)
                    if not image or digest in seen:
                        self.ignored += 1
                        continue
                    seen.add(digest)
                    path = f"{stem}/{_time(log)}-{number:06d}-{place}"
                    self._rows.append((path, file, offset, len(data), place, digest))
        self.description |= {"requests": requests, "repeated": self.ignored}
        if not self._rows:
            raise ValueError(f"`{location}` holds {requests} requests but no encoded image; give the files of a "
                             "server's request log.")

    def __len__(self):
        return len(self._rows)

    def __iter__(self):
        return self.between(0, len(self))

    def between(self, start, stop):
        """The items [start, stop)."""
        for path, file, offset, length, place, digest in self._rows[start:stop]:
            read = functools.partial(_image, file, offset, length, place, digest)
            yield schema.Item(path, read, {}, stamp=digest.hex())

    def requests(self):
        """(PredictionLog, images in each of its inputs, [(path, number of the image)] of those kept) of each request.

        Images of several inputs are numbered one input after the other. Raises: OSError where they are gone.
        """
        for (file, offset, length), rows in itertools.groupby(self._rows, key=lambda row: row[1:4]):
            with open(file, "rb") as stream:
                stream.seek(offset)
                log = _parsed(stream.read(length), file, offset)
            inputs = log.predict_log.request.inputs
            several = sum(bool(_INPUT.fullmatch(name)) for name in inputs) or 1
            yield log, len(_images(log)) // several, [(path, place) for path, _, _, _, place, _ in rows]


def _files(location):
    """The files that a location stands for, sorted, each once."""
    found = []
    for part in [location] if os.path.exists(location) else filter(None, location.split(",")):
        if os.path.isdir(part):
            some = [os.path.join(part, name) for name in os.listdir(part)
                    if name.endswith(".tfrecord") and not name.startswith(".")]
        else:
            some = [part] if os.path.isfile(part) else glob.glob(part)
        if not some:
            raise FileNotFoundError(f"`{shortened(part)}` holds no file *.tfrecord; give the files of a server's "
                                    "request log, or their folder. What a server still writes (*.part) is whole once "
                                    "the file is full or the server has stopped.")
        found += some
    return sorted(set(found), key=lambda file: (os.path.basename(file), file))


def _records(file):
    """(offset of its data, data) of each whole record.   Raises: ValueError for a damaged file."""
    size = os.path.getsize(file)
    with open(file, "rb") as stream:
        offset = 0
        while offset + _HEAD <= size:
            stream.seek(offset)
            head = stream.read(_HEAD)
            length, checksum = struct.unpack("<QI", head)
            if checksum != _masked(_crc(head[:8])):
                raise ValueError(f"`{file}` is damaged at byte {offset:,}, or no file of TFRecords; remove it or copy "
                                 "it again.")
            if length > MAX_BYTES:
                raise ValueError(f"a record of `{file}`, at byte {offset:,}, has {length:,} bytes but may have "
                                 f"{MAX_BYTES:,}; remove the file.")
            if offset + _HEAD + length + _FOOT > size:
                return
            yield offset + _HEAD, stream.read(length)
            offset += _HEAD + length + _FOOT


def _parsed(data, file, offset):
    try:
        log = prediction_log_pb2.PredictionLog.FromString(data)
    except DecodeError:
        log = None
    if log is None or log.WhichOneof("log_type") is None:
        raise ValueError(f"a record of `{file}`, at byte {offset:,}, is no request of a PredictionLog; give the files "
                         "of a server's request log.")
    return log


def _images(log):
    """The encoded images of a request, in the order of its inputs."""
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        inputs = log.predict_log.request.inputs
        return [image for name in sorted(filter(_INPUT.fullmatch, inputs)) for image in inputs[name].string_val]
    if kind not in _LOGS:
        return []
    given = getattr(log, kind).request.input
    if given.WhichOneof("kind") is None:
        return []
    examples = getattr(given, given.WhichOneof("kind")).examples
    return [image for example in examples if _EXAMPLE in example.features.feature
            for image in example.features.feature[_EXAMPLE].bytes_list.value]


def _time(log):
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(min(max(log.log_metadata.timestamp_secs, 0), _LATEST)))


def _digest(image):
    return hashlib.blake2b(image, digest_size=16).digest()


def _image(file, offset, length, place, digest):
    """The bytes of one image.   Raises: OSError where they are not there any more."""
    try:
        found = _images_at(file, os.stat(file).st_mtime_ns, offset, length)
    except DecodeError:
        found = []
    if place >= len(found) or _digest(found[place]) != digest:
        raise OSError(f"`{file}` has changed since it was listed")
    return found[place]


@functools.lru_cache(maxsize=1)
def _images_at(file, changed, offset, length):
    """Of one request: those that were sent together are read one after the other."""
    with open(file, "rb") as stream:
        stream.seek(offset)
        return _images(prediction_log_pb2.PredictionLog.FromString(stream.read(length)))


def _crc_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ 0x82F63B78 * (value & 1)
        table.append(value)
    return table


_TABLE = _crc_table()


def _crc(data):
    """CRC-32C, for a few bytes."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 255]
    return value ^ 0xFFFFFFFF


def _masked(crc):
    """As TFRecords hold a checksum."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
