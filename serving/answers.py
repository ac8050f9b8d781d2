"""What is wrong with an answer of a server, in words: in come its values, out goes a sentence's end or None."""

import io
import struct
import warnings

import numpy as np

ROUNDING = 1e-3  # by which a map or a probability may leave [0, 1]


def share_fault(name, values):
    """What is wrong with an output that must lie in [0, 1], None = nothing."""
    low, high = values.min(), values.max()
    if low >= -ROUNDING and high <= 1 + ROUNDING:  # false for NaN as well
        return None
    return f"output `{name}` holds values from {low:g} to {high:g} but must lie in [0, 1]"


def label_fault(answer):
    """What is wrong with {output: value} that `classify` answered of one image, None = nothing."""
    classes, label, decision = (answer[name] for name in ("classes", "label", "decision"))
    if not 0 <= decision < len(classes):
        return f"output `decision` is {decision} but must be one of the {len(classes)} columns of `classes`"
    if classes[decision] != label:
        return f"output `label` is {label} but `decision` says column {decision}, which is {classes[decision]}"
    if len(set(classes)) < len(classes):
        return f"output `classes` holds a name twice: {', '.join(classes)}"
    faults = (share_fault(name, answer[name]) for name in ("probabilities", "uncertainty") if name in answer)
    return next(filter(None, faults), None)


def without_rounding(answer):
    """{output: array} with what lies in [0, 1] there without errors of rounding."""
    return {
        name: np.clip(value, 0, 1).astype(np.float32) if value.dtype.kind == "f" else value
        for name, value in answer.items()
    }


def restoring_fault(answer, size, scale):
    """What is wrong with the answer for an image of (height, width), None = nothing."""
    made = png_size(answer)
    if made is None:
        return f"output `image_bytes` holds {len(answer):,} bytes but must hold a PNG"
    scale = scale or max(1, round(made[0] / size[0])) if size else scale
    if size and made != (scale * size[0], scale * size[1]):
        return (
            f"output `image_bytes` holds a PNG of {made[0]} x {made[1]} (height x width) but must hold one of "
            f"{scale * size[0]} x {scale * size[1]}, {scale} times {size[0]} x {size[1]}"
        )
    return None


def image_size(data):
    """(height, width) that the head of an encoded image states; None where it does not or decoders differ on it.

    A GIF is such: TensorFlow makes it as large as its largest frame, others as large as its canvas.
    """
    size = png_size(data)
    if size or data[:2] not in (b"\xff\xd8", b"BM"):
        return size
    from PIL import Image  # of no use to those who only ask for vectors

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # nothing is decoded
            with Image.open(io.BytesIO(data), formats=("JPEG", "BMP")) as opened:
                return opened.height, opened.width
    except Exception:  # noqa: BLE001 - damaged images raise anything; the server says what is wrong with them
        return None


def png_size(data):
    """(height, width) that the head of a PNG states, None for what is none; nothing is decoded."""
    if len(data) < 24 or data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", data[16:24])
    return (height, width) if width and height else None
