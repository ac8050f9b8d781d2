"""One pass over all images of a data folder: what the audit must know of each."""

import sys
import tempfile
import typing

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import track

from tfrecords import audit_duplicates as duplicates
from tfrecords.audit_probe import PROBES, spectrum
from tfrecords.decode import Decoder, decode
from tfrecords.read import DamagedError
from tfrecords.scaling import Values

_CHUNK = 256                                # images whose hashes are made together
_MEASURED = 16                              # bands whose quantiles are measured; each takes 0.5 MB


class Seen(typing.NamedTuple):
    """What one pass over all images leaves, by row.

    Args:    sound: bool, whether the record could be read.  digests: bytes of 16, as `duplicates.digest`.
             hashes, details, blank: as `duplicates.hashes`; the details lie on disk.
             bytes: int64, of the stored image.
             probes: {name of `PROBES`: float [rows of the sample, f]}.
             excess: `range_excess`, None for 8 bits.  faults: sentences about broken records.
    """

    sound: np.ndarray
    digests: np.ndarray
    hashes: np.ndarray
    details: np.ndarray
    blank: np.ndarray
    bytes: np.ndarray
    probes: dict
    excess: float | None
    faults: list


def scan(records, look, sample):
    """Looks at every image once, in order.

    Args:    records: a `Records`.  look: see `looker`.  sample: sorted rows of which the probes' facts are kept.
    Returns: Seen. Memory: about 35 bytes an image, and the sample's facts; 1 kB an image on disk.
    """
    count = len(records)
    details = np.memmap(tempfile.TemporaryFile(), np.int8, "w+", shape=(count, duplicates.DETAIL))
    seen = Seen(np.zeros(count, bool), np.zeros(count, "S16"), np.zeros(count, np.uint64), details,
                np.zeros(count, bool), np.zeros(count, np.int64), {}, None, [])
    wanted = np.zeros(count, bool)
    wanted[sample] = True
    facts = {}
    bands = min(records.manifest["channels"], _MEASURED)
    values = None if records.manifest["dtype"] == "uint8" else Values(bands, records.manifest["dtype"], "quantile")
    for start in track(range(0, count, _CHUNK), "looking at the images", console=Console(stderr=True),
                       disable=not sys.stderr.isatty()):
        rows, thumbnails = [], []
        for row in range(start, min(start + _CHUNK, count)):
            try:
                data, = records.images([row])
                pixels, thumbnail = look(data)
            except (ValueError, tf.errors.OpError) as error:
                seen.faults.append(_fault(row, error))
                continue
            seen.digests[row], seen.bytes[row] = duplicates.digest(pixels), len(data)
            if wanted[row]:
                facts[row] = _facts(pixels, thumbnail, len(data), records.manifest["raw"])
            if values is not None:
                values.take(pixels[..., :bands])
            rows.append(row)
            thumbnails.append(_grey(thumbnail))
        if rows:
            seen.sound[rows] = True
            seen.hashes[rows], seen.details[rows], seen.blank[rows] = duplicates.hashes(np.stack(thumbnails))
    known = next(iter(facts.values()), {})
    empty = {name: np.zeros_like(value) for name, value in known.items()}
    probes = {name: np.stack([facts.get(row, empty)[name] for row in sample]) for name in known}
    return seen._replace(probes=probes, excess=None if values is None else _excess(values, records.manifest))


def looker(manifest):
    """A function: stored bytes -> pixels as stored [h, w, c], thumbnail float32 [SIDE, SIDE, C] in [0, 1]."""
    decoder = Decoder.of(manifest, duplicates.SIDE)

    def encoded(data):
        pixels = decode(data, decoder.dtype)
        return pixels, decoder.tensor(tf.cast(pixels, tf.float32)[None])[0]

    # Called as a concrete function: on small images finding the right one would take as long as the work.
    graph = tf.function(decoder.image if decoder.raw else encoded, autograph=False).get_concrete_function(
        tf.TensorSpec([], tf.string))

    def look(data):
        found = graph(tf.constant(data))
        if not decoder.raw:
            return found[0].numpy(), found[1].numpy()
        kind = np.dtype(decoder.dtype).newbyteorder("<")
        return np.frombuffer(data, kind, offset=12).reshape(np.frombuffer(data, "<i4", 3)), found.numpy()
    return look


def _facts(pixels, thumbnail, size, raw):
    """What the probes predict from, {name of `PROBES`: float [f]}."""
    height, width, bands = pixels.shape
    shape = np.log([height, width])
    colours = bands - (bands in (2, 4) and not raw)         # without alpha
    found = {"aspect ratio": shape[:1] - shape[1:], "height and width": shape,
             "spectrum": spectrum(pixels[..., :colours].mean(axis=-1, dtype=np.float64))}
    if not raw:                                             # whose size follows from the shape
        found["file size"] = np.array([np.log(size), np.log(size) - shape.sum()])
    found["mean colour"] = thumbnail.mean(axis=(0, 1))
    small = thumbnail if thumbnail.shape[-1] <= 3 else _grey(thumbnail)[..., None]
    found["thumbnail"] = small.reshape(8, 4, 8, 4, -1).mean(axis=(1, 3)).ravel()
    return {name: found[name].astype(np.float32) for name in PROBES if name in found}


def _grey(thumbnail):
    """[h, w, C] -> [h, w]; luma of colour, the mean of other bands."""
    if thumbnail.shape[-1] == 3:
        return thumbnail @ np.float32([0.299, 0.587, 0.114])
    return thumbnail.mean(axis=-1)


def _excess(values, manifest):
    """Range that becomes [0, 1] / range of 1 to 999 per mille, of the band where it is largest."""
    low, high = (np.array(side) for side in values.bounds(len(values.low)))
    scaled = [np.array(manifest["scaling"][side][:len(low)]) for side in ("low", "high")]
    return float(((scaled[1] - scaled[0]) / (high - low)).max())


def _fault(row, error):
    if isinstance(error, DamagedError):
        return str(error).partition("; write")[0]
    return f"row {row} is no image that can be decoded"
