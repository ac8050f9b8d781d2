"""What synthetic images show: figures with a face, lesions and fields of materials, drawn by formula.

Places are in the figure's own plane, the image spanning [-1, 1] from its left and upper border. All drawing is NumPy on
whole images; nothing depends on the number of threads, so that equal arguments give equal pixels.
"""

import functools
import typing

import numpy as np
from scipy import ndimage

CODE = 35                                   # numbers in [0, 1] that make a figure


class View(typing.NamedTuple):
    """How a figure is seen; the default is straight, in even light, on grey, sharp.

    Args:    angle: radians, clockwise.  zoom: factor.  x, y: shift of the middle.  yaw: head turned, -1 left, 1 right.
             light: growth of the brightness to the right and down.  gain: brightness.  cast: factor a colour.
             ground: two colours that the background runs between, along `slope` (radians).
             blur: sigma in shares of the side.  cover: x, y, half side and colour of a square in front.
             noise: sigma of each value, of a triangular distribution.
    """

    angle: float = 0.0
    zoom: float = 1.0
    x: float = 0.0
    y: float = 0.0
    yaw: float = 0.0
    light: tuple = (0.0, 0.0)
    gain: float = 1.0
    cast: tuple = (1.0, 1.0, 1.0)
    ground: tuple = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    slope: float = 0.0
    blur: float = 0.0
    cover: tuple | None = None
    noise: float = 0.0


class _Face(typing.NamedTuple):
    """The measures of a figure that its code stands for."""

    width: float
    height: float
    corners: float                          # 0 = a box, 1 = an ellipse
    eye_x: float
    eye_y: float
    eye: float
    nose_y: float
    nose: float
    mouth_x: float
    mouth_y: float
    mouth: float
    ear_y: float
    ear: float
    hair: float                             # where it ends
    stripes: float                          # a unit of the plane, times pi
    stripe_angle: float
    stripe_share: float
    colours: np.ndarray                     # [6, 3] of ears, head, stripes, hair, eyes, mouth and nose


def draw(code, view, size):
    """A figure.

    Args:    code: [CODE] in [0, 1]; near codes give near figures.
    Returns: float32 [3, size, size], about [0, 1], neither blurred nor noisy.
    """
    face = _face(code)
    u, v = _own_plane(view, size)
    head = _inside(_ring(u, v, 0.0, 0.0, face.width, face.height, face.corners),
                   0.5 * size * view.zoom * min(face.width, face.height))
    ears = _spot(np.abs(u), v, face.width, face.ear_y, face.ear, face.ear, size, view)
    sine, cosine = np.sin(face.stripe_angle), np.cos(face.stripe_angle)
    waves = np.sin((u * cosine + v * sine) * (np.pi * face.stripes)) - 1 + 2 * face.stripe_share
    hair = _inside(1 - face.hair + v, 0.5 * size * view.zoom)
    turned = u - 0.3 * face.width * view.yaw
    eyes = _spot(np.abs(turned), v, face.eye_x * (1 - 0.2 * abs(view.yaw)), face.eye_y, face.eye, face.eye, size, view)
    nose = _spot(turned, v, 0.08 * view.yaw, face.nose_y, 0.5 * face.nose, face.nose, size, view)
    mouth = _spot(turned, v, 0.0, face.mouth_y, face.mouth_x, face.mouth, size, view)
    drawn = [(ears, face.colours[0]), (head, face.colours[1]),
             (head * np.clip(0.5 + 2 * waves, 0, 1), face.colours[2]), (head * hair, face.colours[3]),
             (eyes, face.colours[4]), (nose, face.colours[5]), (mouth, face.colours[5])]
    return _composed(drawn, view, size)


def landmarks(code, view, size):
    """Both eyes, nose and both corners of the mouth of `draw`, x and y in pixels: ten numbers."""
    face = _face(code)
    turn = 0.3 * face.width * view.yaw
    eye = face.eye_x * (1 - 0.2 * abs(view.yaw))
    points = np.array([(turn - eye, face.eye_y), (turn + eye, face.eye_y), (turn + 0.08 * view.yaw, face.nose_y),
                       (turn - face.mouth_x, face.mouth_y), (turn + face.mouth_x, face.mouth_y)])
    sine, cosine = np.sin(view.angle), np.cos(view.angle)
    points = view.zoom * points @ [[cosine, sine], [-sine, cosine]] + (view.x, view.y)
    return tuple(((points + 1) * (size / 2)).ravel().tolist())


def draw_lesion(code, irregular, skin, view, size):
    """A blot on skin.

    Args:    code: [CODE] in [0, 1].  irregular: 0 = round and of one colour, 1 = ragged and of two.
             skin: its colour.
    Returns: as `draw`.
    """
    u, v = _own_plane(view, size)
    angle, distance = np.arctan2(v, u), np.sqrt(u * u + v * v)
    waves = sum((code[k] - 0.5) * np.cos(k * angle + 6.28 * code[k + 8]) for k in range(2, 8))
    radius = 0.4 + 0.2 * code[0]
    blot = _inside(distance / (radius * np.maximum(0.3, 1 + (0.1 + 0.5 * irregular) * waves)), 0.25 * size * view.zoom)
    colour = np.array(skin) * (0.35 + 0.4 * code[16:19])
    patch = blot * _spot(u, v, code[20] - 0.5, code[21] - 0.5, 0.3, 0.3, size, view)
    dark = colour * (1 - 0.75 * irregular)
    pores = 0.04 * np.sin(u * (20 + 9 * code[22]) + 6 * code[23]) * np.sin(v * (20 + 9 * code[24]))
    view = view._replace(ground=(np.array(skin), np.array(skin) * 0.9))
    return _composed([(blot, colour), (patch, dark)], view, size) * (1 + pores)


def abundances(code, centre, materials, view, size):
    """How much of each material every pixel shows: float32 [size, size, materials], >= 0, sums 1.

    Args:    centre: the material that a disc in the middle mostly is.
    """
    u, v = _own_plane(view, size)
    maps = np.empty((size, size, materials), np.float32)
    for material in range(materials):
        lengths, phases = (np.roll(code, -(3 * material + first))[:3] for first in (0, 17))
        maps[..., material] = sum(_wave(u, v, 2 + 4 * length, 2 * k + material, phase)
                                  for k, (length, phase) in enumerate(zip(lengths, phases)))
    disc = _inside(_ring(u, v, 0.0, 0.0, 0.35 + 0.2 * code[0], 0.35 + 0.2 * code[1], 1.0), 0.2 * size * view.zoom)
    maps[..., centre] += 5 * disc
    maps = np.exp(maps - maps.max(axis=-1, keepdims=True))
    return (maps / maps.sum(axis=-1, keepdims=True)).astype(np.float32)


def shade(view, size):
    """The light on each pixel: float32 [size, size]."""
    x, y = _plane(size)
    return view.gain * (1 + view.light[0] * x + view.light[1] * y)


def blurred(image, sigma):
    """[c, h, w] after a Gaussian of sigma pixels."""
    return ndimage.gaussian_filter(image, (0, sigma, sigma), mode="nearest", truncate=3) if sigma > 0.1 else image


def noisy(image, sigma, random):
    """[...] float32 with noise: the difference of two even draws, which costs a fifth of a normal one."""
    if not sigma:
        return image
    first, second = np.frombuffer(random.bytes(2 * image.size), np.uint8).reshape(2, *image.shape).astype(np.float32)
    return image + np.float32(sigma / (256 / 6 ** 0.5)) * (first - second)


def eight_bits(image):
    """[3, h, w] in [0, 1] -> uint8 [h, w, 3]."""
    return np.ascontiguousarray(np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0))


@functools.lru_cache(maxsize=4)
def _plane(size):
    """x and y of the pixels' middles."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    return (2 * x + 1) / size - 1, (2 * y + 1) / size - 1


def _own_plane(view, size):
    """Where in the figure's plane each pixel looks."""
    x, y = _plane(size)
    sine, cosine = np.sin(view.angle) / view.zoom, np.cos(view.angle) / view.zoom
    x, y = x - np.float32(view.x), y - np.float32(view.y)
    return np.float32(cosine) * x + np.float32(sine) * y, np.float32(cosine) * y - np.float32(sine) * x


def _face(code):
    c = [float(number) for number in code]
    height, width = 0.6 + 0.22 * c[0], 0.45 + 0.25 * c[1]
    eye_y = -height * (0.1 + 0.3 * c[2])
    mouth_y = height * (0.45 + 0.25 * c[3])
    return _Face(
        width=width, height=height, corners=c[4],
        eye_x=width * (0.3 + 0.25 * c[5]), eye_y=eye_y, eye=0.06 + 0.09 * c[6],
        nose_y=eye_y + (mouth_y - eye_y) * (0.4 + 0.25 * c[7]), nose=0.05 + 0.1 * c[8],
        mouth_x=width * (0.25 + 0.4 * c[9]), mouth_y=mouth_y, mouth=0.03 + 0.09 * c[10],
        ear_y=height * (1.4 * c[11] - 0.6), ear=0.07 + 0.17 * c[12],
        hair=-height * (0.45 + 0.5 * c[13]),
        stripes=1.5 + 3.5 * c[14], stripe_angle=np.pi * c[15], stripe_share=0.5 * c[16],
        colours=0.05 + 0.9 * np.reshape(code[17:], (6, 3)))


def _wave(u, v, length, angle, phase):
    return np.cos(u * np.float32(length * np.cos(angle)) + v * np.float32(length * np.sin(angle))
                  + np.float32(6.28 * phase))


def _ring(u, v, x, y, width, height, corners):
    """1 on the border of a shape between a box and an ellipse, less inside."""
    u, v = np.abs(u - np.float32(x)) * np.float32(1 / width), np.abs(v - np.float32(y)) * np.float32(1 / height)
    corners = np.float32(corners)
    return corners * np.sqrt(u * u + v * v) + (1 - corners) * np.maximum(u, v)


def _inside(ring, edge):
    """1 where the ring is below 1, 0 above, softly within one pixel: `edge` is how many a unit of it is."""
    return np.clip(np.float32(0.5 + edge) - np.float32(edge) * ring, 0, 1)


def _spot(u, v, x, y, width, height, size, view):
    return _inside(_ring(u, v, x, y, width, height, 1.0), 0.5 * size * view.zoom * min(width, height))


def _composed(drawn, view, size):
    """The layers (share, colour), back to front, over the background and in the light: [3, size, size]."""
    x, y = _plane(size)
    run = np.clip(0.5 + 0.5 * (x * np.float32(np.cos(view.slope)) + y * np.float32(np.sin(view.slope))), 0, 1)
    layers = [(np.ones_like(run), view.ground[0]), (run, view.ground[1]), *drawn]
    if view.cover is not None:
        left, top, half, colour = view.cover
        layers.append((_inside(_ring(x, y, left, top, half, half, 0.0), 0.5 * size * half), colour))
    weights = np.empty((len(layers), size, size), np.float32)
    through = shade(view, size)             # what is left of the light behind the layers in front
    for place in range(len(layers) - 1, 0, -1):
        weights[place] = through * layers[place][0]
        through = through - weights[place]
    weights[0] = through
    colours = np.array([colour for _, colour in layers], np.float32) * np.array(view.cast, np.float32)
    # Not by matmul, whose rounding may differ with the number of threads.
    return np.einsum("lc,lhw->chw", colours, weights)
