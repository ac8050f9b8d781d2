"""The shortcut probe: how well do facts that should not matter predict the label?"""

import typing
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from threadpoolctl import threadpool_limits

MOST_ROWS, MOST_CLASSES = 5000, 20          # what a probe is fitted on
LEAST_GROUPS = 4                            # a class needs so many images, or cases
FOLDS = 5
RINGS = 16                                  # of the spectrum
LARGEST = 128                               # side of the part whose spectrum is taken

# Share of the way from chance to perfect at which a predictor is told as a shortcut. File size, shape and spectrum
# also follow what an image shows (a trouser has fewer edges than a sandal), so that above chance alone says little.
STRONG = {"file size": 0.6, "aspect ratio": 0.6, "height and width": 0.6, "spectrum": 0.8}
PROBES = (*STRONG, "mean colour", "thumbnail")


class Score(typing.NamedTuple):
    """What one fact alone predicts.

    Args:    accuracy: balanced accuracy over the folds, the mean of the classes' recalls.
             low, high: 95 % interval.  chance: 1 / classes.
             strong: whether it is so good that it must be told.
    """

    accuracy: float
    low: float
    high: float
    chance: float
    strong: bool


def sample(classes, groups):
    """The rows a probe is fitted on: the same for the same data.

    Args:    classes: int [N], -1 = none.  groups: int [N]; rows of one group lie on the same side of a fold.
    Returns: rows, int64 [n], n <= MOST_ROWS, of at most MOST_CLASSES classes that have LEAST_GROUPS groups each;
             empty where fewer than two have.
    """
    pairs = np.unique(np.stack([classes, groups], axis=1)[classes >= 0], axis=0)
    found, counts = np.unique(pairs[:, 0], return_counts=True)
    found = found[counts >= LEAST_GROUPS]
    if len(found) < 2:
        return np.zeros(0, np.int64)
    random = np.random.default_rng(0)
    chosen = np.sort(random.permutation(found)[:MOST_CLASSES])
    rows = [random.permutation(np.flatnonzero(classes == number))[:MOST_ROWS // len(chosen)] for number in chosen]
    return np.sort(np.concatenate(rows))


def folds(classes, groups):
    """The fold in which each row is held back, int [n]: stratified, and no group in two of them.

    Args:    classes: int [n].  groups: int [n].
    Returns: None where there are not two classes, or one has fewer than two groups.
    """
    sizes = _groups(classes, groups)
    if len(sizes) < 2 or sizes.min() < 2:
        return None
    found = np.zeros(len(classes), np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)            # of folds that lack a class
        splitter = StratifiedGroupKFold(min(FOLDS, int(sizes.min())), shuffle=True, random_state=0)
        for number, (_, held) in enumerate(splitter.split(classes, classes, groups)):
            found[held] = number
    return found


def score(values, classes, groups, fold, name=""):
    """How well a logistic regression on these values alone predicts the class of rows it was not fitted on.

    accuracy = mean_k recall_k, every row predicted by the model of the other folds
    interval = accuracy -+ 1.96 sqrt(sum_k r_k (1 - r_k) / n_k) / K,   r_k = (n_k recall_k + 1) / (n_k + 2)

    n_k counts the groups of class k, not its rows: rows of one group say the same.

    Args:    values: float [n, f].  classes: int [n].  groups: int [n].  fold: as `folds` gives it.
             name: of `PROBES`, for `strong`.
    Returns: Score.
    """
    found, targets = np.unique(classes, return_inverse=True)
    sizes = _groups(classes, groups)
    steps = [StandardScaler(), LogisticRegression(max_iter=300, tol=0.01, class_weight="balanced")]
    if values.shape[1] <= 3:        # a class may lie between two others, or around one
        steps.insert(1, PolynomialFeatures(2, include_bias=False))
    model = make_pipeline(*steps)
    predicted = np.zeros_like(targets)
    # On such small matrices threads cost more than they save.
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)
        for number in range(fold.max() + 1):
            held = fold == number
            predicted[held] = model.fit(values[~held], targets[~held]).predict(values[held])
    recalls = recall_score(targets, predicted, average=None)
    smooth = (sizes * recalls + 1) / (sizes + 2)
    half = 1.96 * np.sqrt((smooth * (1 - smooth) / sizes).sum()) / len(found)
    accuracy, chance = float(recalls.mean()), 1 / len(found)
    strong = accuracy - half > chance and accuracy - chance > STRONG.get(name, 1.0) * (1 - chance)
    return Score(accuracy, max(accuracy - half, 0.0), min(accuracy + half, 1.0), chance, bool(strong))


def _groups(classes, groups):
    """Number of groups of each class that occurs."""
    pairs = np.unique(np.stack([classes, groups], axis=1), axis=0)
    return np.unique(pairs[:, 0], return_counts=True)[1]


def spectrum(image):
    """Radial power spectrum: how rough an image is, whatever it shows.

    power(f) = |FFT(hann (x - mean))|^2;   value_r = log(mean of power in ring r / sum over the rings)

    RINGS rings of equal width from 0 to 0.5 cycles a pixel of the stored image, so that a picture that was enlarged,
    or made by a generator, shows; of a large image the central part of LARGEST pixels.

    Args:    image: float [h, w].
    Returns: float32 [RINGS]; all 0 for a plain image.
    """
    height, width = image.shape
    y, x = max(0, height - LARGEST) // 2, max(0, width - LARGEST) // 2
    image = image[y:y + LARGEST, x:x + LARGEST].astype(np.float64)
    height, width = image.shape
    window = np.outer(_hann(height), _hann(width))
    power = np.abs(np.fft.rfft2((image - image.mean()) * window)) ** 2
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    ring = np.minimum((radius * 2 * RINGS).astype(int), RINGS)          # the corners, beyond 0.5, are left out
    counts = np.bincount(ring.ravel(), minlength=RINGS + 1)[:RINGS]
    sums = np.bincount(ring.ravel(), power.ravel(), minlength=RINGS + 1)[:RINGS]
    mean = sums[counts > 0] / counts[counts > 0]
    if mean.sum() <= 1e-12 * height * width:
        return np.zeros(RINGS, np.float32)
    # A small image has no frequency in some rings.
    mean = np.interp(np.arange(RINGS), np.flatnonzero(counts), mean)
    return np.log(mean / mean.sum() + 1e-9).astype(np.float32)


def _hann(count):
    """Hann's window without its zeros, 1 for a single pixel."""
    return np.sin(np.pi * (np.arange(count) + 1) / (count + 1)) ** 2
