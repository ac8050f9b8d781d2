"""Restoration: how near does a restored image come to the one that was lost?"""

import numpy as np
from scipy import ndimage

BEST = 100.0        # dB, of an image that equals its target
_BLOCK = 1 << 20    # entries of one block of images: 8 MB as float64
_WINDOW, _SIGMA, _C1, _C2 = 11, 1.5, 0.01**2, 0.03**2


def psnr(images, targets):
    """Peak signal-to-noise ratio, the mean over the images.

    value_i = min(10 log10(1 / mean_hwc (x - t)^2), 100)

    An image that equals its target has 100 dB instead of infinity, so that a mean can be taken; an error of 1/255 in
    every pixel, the least that 8 bits can show, has 48.

    Args:    images x, targets t: [n, H, W, C] floats in [0, 1].
    Returns: float <= 100 in dB, larger = nearer.  Memory: blocks of 8 MB or of one image.
    Raises:  ValueError for shapes that differ, no image, values that are no floats in [0, 1].
    """
    values = []
    for image, target in _blocks(images, targets):
        errors = np.square(image - target).mean(axis=(1, 2, 3))
        values.extend(-10 * np.log10(np.maximum(errors, 10 ** (-BEST / 10))))
    return float(np.mean(values))


def ssim(images, targets):
    """Structural similarity, the mean over the images; one minus the loss of this name with its defaults.

    value_i = mean_places,c  (2 m_x m_t + C1) (2 s_xt + C2) / ((m_x^2 + m_t^2 + C1) (s_xx + s_tt + C2))

    m, s: the moments under a Gaussian window of 11 x 11 pixels and sigma 1.5 at each place where it lies wholly inside
    (a smaller image has the largest odd window that fits into its shorter side); C1 = 0.01^2, C2 = 0.03^2.

    Args:    images x, targets t: [n, H, W, C] floats in [0, 1].
    Returns: float in (-1, 1], larger = nearer.  Memory: ten blocks of 8 MB or of one image.
    Raises:  ValueError for shapes that differ, no image, values that are no floats in [0, 1].
    Source:  Wang, Bovik, Sheikh, Simoncelli, IEEE TIP 2004, eq. 13.   Differs: every channel by itself.
    """
    values = []
    for image, target in _blocks(images, targets):
        shorter = min(image.shape[1:3])
        reach = (min(_WINDOW, shorter - 1 + shorter % 2) - 1) // 2
        weights = np.exp(-np.square(np.arange(-reach, reach + 1) / _SIGMA) / 2)
        weights /= weights.sum()

        def blurred(maps, weights=weights, reach=reach):
            for axis in (1, 2):
                maps = ndimage.correlate1d(maps, weights, axis)
                maps = maps[(slice(None),) * axis + (slice(reach, maps.shape[axis] - reach),)]
            return maps
        mean, mean_target = blurred(image), blurred(target)
        both = mean * mean_target
        squares = np.square(mean) + np.square(mean_target)
        covariance = blurred(image * target) - both
        variances = blurred(np.square(image) + np.square(target)) - squares
        maps = (2 * both + _C1) * (2 * covariance + _C2) / ((squares + _C1) * (variances + _C2))
        values.extend(maps.mean(axis=(1, 2, 3)))
    return float(np.mean(values))


def eight_bits(images):
    """The images as a file of 8 bits keeps them: figures of files that are written compare with nothing else.

    value = round(255 clip(x, 0, 1)) / 255

    Args:    images: floats of any shape; what a network puts outside [0, 1] is clipped.
    Returns: the same shape, float64 for float64, else float32.
    Raises:  ValueError for values that are no floats, or not finite.
    """
    images = _floats(images, "images")
    if not np.isfinite(images).all():
        raise ValueError("`images` has a value that is not finite but a file keeps numbers; check the model.")
    images = images.astype(np.float64 if images.dtype == np.float64 else np.float32, copy=False)
    return np.rint(np.clip(images, 0, 1) * 255) / 255


def _floats(images, name):
    images = np.asarray(images)
    if images.dtype.kind != "f":
        raise ValueError(f"`{name}` is {images.dtype} but must be floats in [0, 1]; divide 8 bits by 255.")
    return images


def _blocks(images, targets):
    """Some images and their targets at a time, as float64."""
    images, targets = _floats(images, "images"), _floats(targets, "targets")
    if images.ndim != 4 or targets.shape != images.shape:
        raise ValueError(f"`images` has shape {images.shape} and `targets` {targets.shape} but both must be "
                         "[n, H, W, C] of one size; give each image its target.")
    if not images.size:
        raise ValueError(f"`images` has shape {images.shape} but a mean needs an image of at least one pixel; add "
                         "images.")
    step = max(1, _BLOCK // images[0].size)
    for first in range(0, len(images), step):
        part = []
        for name, all_images in (("images", images), ("targets", targets)):
            block = all_images[first:first + step].astype(np.float64)
            inside = ((block >= 0) & (block <= 1)).all(axis=(1, 2, 3))
            if not inside.all():
                wrong = int(np.argmin(inside))
                raise ValueError(f"`{name}` row {first + wrong} has values from {block[wrong].min()} to "
                                 f"{block[wrong].max()} but they must lie in [0, 1]; use `eight_bits`.")
            part.append(block)
        yield part
