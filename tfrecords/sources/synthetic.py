"""Drawn images with a known structure: for what no real set has, and for tests. A result on them says so."""

import functools
import math

import numpy as np

from tfrecords import schema
from tfrecords.sources import _figures
from tfrecords.sources._figures import View

_MOST = 1_000_000
_DRAWING = "1"                              # another number for another way to draw
_STREAMS = _CODE, _VIEW, _OTHER = range(3)


class SyntheticSource:
    """One seeded generator of small colour images whose structure is known.

    A face-like figure (shape, six colours, stripes, places of eyes, nose, mouth, ears) is who or what it is; how it is
    seen (turn, size, place, yaw, light, colour cast, background, blur, a square in front, noise) is the nuisance. Each
    image is a function of seed, kind and its own numbers alone, and is drawn when it is read: image 3 of identity 7 is
    the same however many there are. Kinds with their options and columns:

        identities  identities=100 images=20 cameras=3: identity, camera (a cast and a background), orientation
                    (left, front, right), quality, landmarks
        tracks      identities=50 tracks=2 frames=8 cameras=3: the same and track, frame; smooth motion, blur comes and
                    goes
        domains     classes=10 images=40 domains=4: label, source (plain, inverted, edges, stripes; traces of making:
                    upsampled, checkered)
        ordinal     images=1000 grades=21 cohorts=2: target 0 ... grades - 1 (the hair goes back, the eyes shrink),
                    cohort
        tail        classes=20 images=200 power=1.0: label; class k has images / (k + 1)^power images
        cases       cases=100 images=3 classes=2 cohorts=3 noise=0.0: case (one lesion), true_label (how ragged it is),
                    label (another one in a share `noise` of the cases), cohort (skin)
        bands       images=500 classes=4 materials=6 bits=32: label (the material in the middle); [h, w, 9] float32 or,
                    with bits=16, uint16: mixtures of `materials` spectra
        clips       classes=8 clips=100 frames=16: label, case = track (the clip), frame; smooth motion

    Args:    kind: as above.
             options: those of the kind, and seed=0, size=48 (side, 16 to 128 pixels), nuisance=1.0 (0 = none, 2 = twice
             as much).
    Raises:  ValueError for an unknown kind or option, or a value out of range.
    """

    def __init__(self, kind, **options):
        if kind not in _KINDS:
            raise ValueError(f"`{kind}` is not a kind of synthetic images; the kinds are {', '.join(_KINDS)}.")
        found = _KINDS[kind]
        values = _checked(kind, {**_COMMON, **found.options}, options)
        self._kind = found(**values)
        self.description = {"source": "synthetic", "synthetic": True, "kind": kind, **values}

    @classmethod
    def parse(cls, text):
        """The source that a text such as "identities:identities=100,images=20,seed=1" means.

        Raises:  ValueError as the constructor, or where an option is not written name=number.
        """
        kind, _, rest = text.partition(":")
        options = {}
        for part in filter(None, (part.strip() for part in rest.split(","))):
            name, _, value = (word.strip() for word in part.partition("="))
            try:
                options[name] = float(value) if set(value) & set(".eE") else int(value)
            except ValueError:
                raise ValueError(f"{part[:80]!r} is no option of synthetic images; write name=number, such as "
                                 "seed=1.") from None
        return cls(kind.strip(), **options)

    def __len__(self):
        return len(self._kind)

    def __iter__(self):
        for numbers, path, columns in self._kind.items():
            yield schema.Item(f"{self.description['kind']}/{path}.png", functools.partial(self._kind.image, *numbers),
                              columns, stamp=_DRAWING)


_COMMON = {"seed": (0, 0, 2 ** 31 - 1), "size": (48, 16, 128), "nuisance": (1.0, 0.0, 2.0)}


def _checked(kind, known, options):
    """All options with their values; `known` is {name: (default, least, most)}."""
    for name, value in options.items():
        if name not in known:
            raise ValueError(f"`{name}` is not an option of {kind}; its options are {', '.join(known)}.")
        default, least, most = known[name]
        whole = isinstance(default, int)
        if not (math.isfinite(value) and least <= value <= most and (not whole or value == int(value))):
            raise ValueError(f"`{name}` of {kind} is {value} but must be a {'whole ' if whole else ''}number from "
                             f"{least:,} to {most:,}.")
    return {name: type(default)(options.get(name, default)) for name, (default, _, _) in known.items()}


class _Kind:
    """What the kinds share: their options as attributes, streams of random numbers, and the usual view.

    A kind has a number of its `own`, `options` {name: (default, least, most)}, `__len__`, `items()` -> (numbers, path,
    columns) and `image(*numbers)` -> array.
    """

    def __init__(self, **values):
        self.__dict__.update(values)

    def random(self, stream, *numbers):
        """The random numbers of one thing of this kind."""
        return np.random.default_rng([self.seed, self.own, stream, *numbers])

    def code(self, *numbers):
        return self.random(_CODE, *numbers).random(_figures.CODE)

    def near(self, code, random, spread):
        """One of many figures like the code."""
        return np.clip(code + spread * random.standard_normal(_figures.CODE), 0, 1)

    def view(self, random, camera=None):
        """A view drawn at random, within its nuisance; a camera gives all its images one cast and background."""
        n = self.nuisance
        r = random.random(32).tolist()
        own = [number - 0.5 for number in r]
        shared = own
        if camera is not None:
            shared = (self.random(_OTHER, camera).random(32) - 0.5).tolist()
        cover = None
        if r[20] < 0.3 * n:
            side = 0.12 + 0.2 * r[21]
            cover = (1.6 * own[22], 1.6 * own[23], side, (r[24], r[25], r[26]))
        return View(
            angle=0.8 * n * own[0], zoom=math.exp(0.4 * n * own[1]), x=0.36 * n * own[2], y=0.36 * n * own[3],
            yaw=2 * n * own[4], light=(0.7 * n * own[5], 0.7 * n * own[6]), gain=1 + 0.5 * n * own[7],
            cast=tuple(1 + 0.4 * n * number for number in shared[8:11]),
            ground=tuple(tuple(0.5 + 0.45 * n * (shared[place] + own[place]) for place in places)
                         for places in ((11, 12, 13), (14, 15, 16))),
            slope=6.28 * n * own[17], blur=0.03 * n * r[18] ** 3, cover=cover, noise=0.02 * n)

    def seen(self, view):
        """{quality, orientation} of a view; quality is 1 - blur as a share of the most there is."""
        yaw = view.yaw
        return {"quality": round(1 - view.blur / (0.03 * max(1.0, self.nuisance)), 6),
                "orientation": "left" if yaw < -1 / 3 else "right" if yaw > 1 / 3 else "front"}

    def finished(self, image, view, random):
        """uint8 [h, w, 3]"""
        image = _figures.blurred(image, view.blur * self.size)
        return _figures.eight_bits(_figures.noisy(image, view.noise, random))

    def moved(self, start, motion, frame):
        """A view some frames later: each movement swings about its start at its own pace, 12 to 60 frames a swing."""
        n = self.nuisance

        def swing(place):
            return n * math.sin(6.28 * (motion[place] + frame * (1 + 4 * motion[place + 8]) / 60))

        return start._replace(
            angle=start.angle + 0.3 * swing(0), zoom=start.zoom * math.exp(0.15 * swing(1)),
            x=start.x + 0.15 * swing(2), y=start.y + 0.15 * swing(3), yaw=0.7 * swing(4),
            gain=start.gain + 0.1 * swing(5))


class _Identities(_Kind):
    own = 0
    options = {"identities": (100, 1, _MOST), "images": (20, 1, _MOST), "cameras": (3, 1, _MOST)}

    def __len__(self):
        return self.identities * self.images

    def items(self):
        for identity in range(self.identities):
            code = self.code(identity)
            for number in range(self.images):
                view, _ = self._view(identity, number)
                yield (identity, number), f"{identity:04d}/{number:04d}", {
                    "identity": identity, "camera": number % self.cameras, **self.seen(view),
                    "landmarks": _figures.landmarks(code, view, self.size)}

    def image(self, identity, number):
        view, random = self._view(identity, number)
        return self.finished(_figures.draw(self.code(identity), view, self.size), view, random)

    def _view(self, identity, number):
        random = self.random(_VIEW, identity, number)
        return self.view(random, number % self.cameras), random


class _Tracks(_Kind):
    own = 1
    options = {"identities": (50, 1, _MOST), "tracks": (2, 1, _MOST), "frames": (8, 1, _MOST), "cameras": (3, 1, _MOST)}

    def __len__(self):
        return self.identities * self.tracks * self.frames

    def items(self):
        for identity in range(self.identities):
            code = self.code(identity)
            for track in range(self.tracks):
                for frame in range(self.frames):
                    view = self._view(identity, track, frame)
                    yield (identity, track, frame), f"{identity:04d}/{track:04d}/{frame:04d}", {
                        "identity": identity, "camera": track % self.cameras, "track": f"{identity}_{track}",
                        "frame": frame, **self.seen(view), "landmarks": _figures.landmarks(code, view, self.size)}

    def image(self, identity, track, frame):
        view = self._view(identity, track, frame)
        image = _figures.draw(self.code(identity), view, self.size)
        return self.finished(image, view, self.random(_VIEW, identity, track, frame))

    def _view(self, identity, track, frame):
        random = self.random(_VIEW, identity, track)
        start = self.view(random, track % self.cameras)
        motion = random.random(17).tolist()
        blur = 0.5 + 0.5 * math.sin(6.28 * (motion[16] + frame / 7))
        return self.moved(start, motion, frame)._replace(blur=0.03 * self.nuisance * blur ** 2)


class _Domains(_Kind):
    own = 2
    options = {"classes": (10, 1, _MOST), "images": (40, 1, _MOST), "domains": (4, 1, 6)}

    def __len__(self):
        return self.classes * self.domains * self.images

    def items(self):
        for domain, source in enumerate(list(_STYLES)[:self.domains]):
            for label in range(self.classes):
                for number in range(self.images):
                    yield (domain, label, number), f"{source}/{label:04d}/{number:04d}", {
                        "label": label, "source": source}

    def image(self, domain, label, number):
        random = self.random(_VIEW, domain, label, number)
        view = self.view(random)
        code = self.near(self.code(label), random, 0.08)
        image = _figures.blurred(_figures.draw(code, view, self.size), view.blur * self.size)
        image = list(_STYLES.values())[domain](np.clip(image, 0, 1))
        return _figures.eight_bits(_figures.noisy(image, view.noise, random))


def _edges(image):
    down, right = np.gradient(image, axis=(1, 2))
    return 4 * np.sqrt(down ** 2 + right ** 2)


def _striped(image):
    places = np.arange(image.shape[-1])
    return image * (0.65 + 0.35 * np.sin(0.9 * places + 0.6 * places[:, None])).astype(np.float32)


def _upsampled(image):
    """Every second value of each row and column, and between them the mean of their neighbours."""
    for _ in range(2):
        image = image.swapaxes(1, 2).copy()
        image[:, 1:-1:2] = (image[:, 0:-2:2] + image[:, 2::2]) / 2
    return image


def _checkered(image):
    places = np.arange(image.shape[-1])
    return image + (0.04 - 0.08 * ((places + places[:, None]) % 2)).astype(np.float32)


_STYLES = {"plain": lambda image: image, "inverted": lambda image: 1 - image, "edges": _edges, "stripes": _striped,
           "upsampled": _upsampled, "checkered": _checkered}


class _Ordinal(_Kind):
    own = 3
    options = {"images": (1000, 1, _MOST), "grades": (21, 2, 1000), "cohorts": (2, 1, 100)}

    def __len__(self):
        return self.images

    def items(self):
        for number in range(self.images):
            yield (number,), f"{number:06d}", {"target": number % self.grades, "cohort": self._cohort(number)}

    def image(self, number):
        random = self.random(_VIEW, number)
        view = self.view(random)
        # A cohort shares its shape and its colours, more or less.
        code = self.near(self.code(self._cohort(number)), random, 0.08)
        age = number % self.grades / (self.grades - 1)
        face = {0: 0.5, 6: 0.9 - 0.8 * age, 13: 1.2 * age - 0.4}
        code[list(face)] = list(face.values())
        return self.finished(_figures.draw(code, view, self.size), view, random)

    def _cohort(self, number):
        return number // self.grades % self.cohorts


class _Tail(_Kind):
    own = 4
    options = {"classes": (20, 1, 10_000), "images": (200, 1, _MOST), "power": (1.0, 0.0, 5.0)}

    def sizes(self):
        return [max(1, round(self.images / (label + 1) ** self.power)) for label in range(self.classes)]

    def __len__(self):
        return sum(self.sizes())

    def items(self):
        for label, count in enumerate(self.sizes()):
            for number in range(count):
                yield (label, number), f"{label:04d}/{number:04d}", {"label": label}

    def image(self, label, number):
        random = self.random(_VIEW, label, number)
        view = self.view(random)
        code = self.near(self.code(label), random, 0.08)
        return self.finished(_figures.draw(code, view, self.size), view, random)


class _Cases(_Kind):
    own = 5
    options = {"cases": (100, 1, _MOST), "images": (3, 1, _MOST), "classes": (2, 2, 10), "cohorts": (3, 1, 10),
               "noise": (0.0, 0.0, 1.0)}

    def __len__(self):
        return self.cases * self.images

    def items(self):
        for case in range(self.cases):
            label, told, cohort, _ = self._case(case)
            for number in range(self.images):
                yield (case, number), f"{case:04d}/{number:04d}", {
                    "case": case, "label": told, "true_label": label, "cohort": cohort}

    def image(self, case, number):
        label, _, cohort, code = self._case(case)
        irregular = (label + 0.8 * (code[30] - 0.5)) / (self.classes - 1)
        skin = np.array([0.95, 0.78, 0.68]) * (1 - 0.6 * cohort / max(1, self.cohorts - 1))
        random = self.random(_VIEW, case, number)
        view = self.view(random)
        view = view._replace(angle=4 * view.angle, yaw=0.0)
        image = _figures.draw_lesion(code, np.clip(irregular, 0, 1), tuple(skin), view, self.size)
        return self.finished(image, view, random)

    def _case(self, case):
        """What it is, what it is said to be, its cohort and its code."""
        random = self.random(_CODE, case)
        code = random.random(_figures.CODE)
        label, cohort, step = (int(random.integers(least, most)) for least, most in
                               ((0, self.classes), (0, self.cohorts), (1, self.classes)))
        told = (label + step) % self.classes if random.random() < self.noise else label
        return label, told, cohort, code


class _Bands(_Kind):
    own = 6
    options = {"images": (500, 1, _MOST), "classes": (4, 1, 9), "materials": (6, 1, 9), "bits": (32, 16, 32)}

    def __init__(self, **values):
        super().__init__(**values)
        if self.bits not in (16, 32):
            raise ValueError(f"`bits` of bands is {self.bits} but must be 16 (uint16) or 32 (float32).")
        if self.classes > self.materials:
            raise ValueError(f"`classes` of bands is {self.classes} but there are only {self.materials} `materials`; a "
                             "class is the material in the middle.")
        self.spectra = self._spectra()

    def __len__(self):
        return self.images

    def items(self):
        for number in range(self.images):
            yield (number,), f"{number:06d}", {"label": number % self.classes}

    def image(self, number):
        random = self.random(_VIEW, number)
        view = self.view(random)
        code = random.random(_figures.CODE)
        parts = _figures.abundances(code, number % self.classes, self.materials, view, self.size)
        image = np.einsum("hwm,mb->hwb", parts, self.spectra) * _figures.shade(view, self.size)[..., None]
        image = np.clip(_figures.noisy(image, 0.5 * view.noise, random), 0, 2)
        return image if self.bits == 32 else np.rint(image * 32767.5).astype(np.uint16)

    def _spectra(self):
        """What the nine bands see of each pure material: float32 [materials, 9], the same for all images.

        Hidden reflectances at 31 wavelengths, two bumps on a base each, through nine overlapping filters.
        """
        random = self.random(_OTHER)
        wavelength = np.linspace(0, 1, 31)
        base, first, second = (random.random((9, 1)) for _ in range(3))
        hidden = (0.1 + 0.25 * base + 0.5 * np.exp(-((wavelength - first) / 0.12) ** 2)
                  + 0.4 * np.exp(-((wavelength - second) / 0.08) ** 2))
        filters = np.exp(-((wavelength[:, None] - np.linspace(0.05, 0.95, 9)) / 0.07) ** 2)
        return (hidden @ (filters / filters.sum(axis=0)))[:self.materials].astype(np.float32)


class _Clips(_Kind):
    own = 7
    options = {"classes": (8, 1, _MOST), "clips": (100, 1, _MOST), "frames": (16, 1, _MOST)}

    def __len__(self):
        return self.clips * self.frames

    def items(self):
        for clip in range(self.clips):
            for frame in range(self.frames):
                yield (clip, frame), f"{clip:04d}/{frame:04d}", {
                    "label": clip % self.classes, "case": clip, "track": clip, "frame": frame}

    def image(self, clip, frame):
        random = self.random(_VIEW, clip)
        view = self.view(random)
        code = self.near(self.code(clip % self.classes), random, 0.08)
        view = self.moved(view, random.random(17).tolist(), frame)
        return self.finished(_figures.draw(code, view, self.size), view, self.random(_VIEW, clip, frame))


_KINDS = {"identities": _Identities, "tracks": _Tracks, "domains": _Domains, "ordinal": _Ordinal, "tail": _Tail,
          "cases": _Cases, "bands": _Bands, "clips": _Clips}
