"""Which images a diagnosis learns from and is judged by: named splits, or dealt by whole cases and classes."""

import numpy as np

from keras_apps import splits

SIDES = ("train", "validation", "test")
LEAST = 5               # images of a class, in all
NAMED = {"train": ("train", "training"), "validation": ("val", "valid", "validation"), "test": ("test", "testing")}


def select(images, config, answerable):
    """Which images a diagnosis is trained on and judged by, by the config's keys.

    Args:    images: of the data.  answerable: (config, names) -> bool [K], the classes that can be an answer; an image
             of any other is trained on, not judged by.
    Returns: labels int32 [N], -1 = not trained on with a label; {"train", "validation", "test", "unlabelled": Split},
             of which the last three may be missing; the classes' names.
    Raises:  ValueError for a case on two sides, or a class without images on one.
    """
    records = images.records
    names, labels = classes_of(records, config.classes)
    can_be_answers = answerable(config, names)
    precise = (labels < 0) | can_be_answers[labels]
    masks = dict(zip(SIDES, sides_of(records, config, labels, names)))
    known = labels >= 0
    units = records.column("case") if records.has("case") else np.full(records.count, -1)
    if records.has("case"):
        require_apart(units, records.names("case"), masks)
    held = masks["validation"] | masks["test"]
    free = ~held & ~np.isin(units, units[held & (units >= 0)])
    train = masks["train"] & known
    seen = (masks["train"] | ~known) & free
    if config.class_labels:
        train = _of_each_class(labels, train, config, names)
    elif config.labels:
        train &= splits.first_of_each(labels, train, config.labels, config.seed)
    found = {}
    for side, mask in (("train", train), *((name, masks[name] & known & precise) for name in SIDES[1:])):
        rows = np.flatnonzero(mask)
        if len(rows):
            one = splits.Split(images, rows, labels[rows], names, False)
            found[side] = one.sound() if side == "train" else one.spread(config.data.test_images)
    _require_each(records, names, found, can_be_answers)
    train = np.isin(np.arange(records.count), found["train"].rows)
    classes = np.where(train, labels, -1).astype(np.int32)
    rest = np.flatnonzero(seen & ~train)
    if len(rest):
        found["unlabelled"] = splits.Split(images, rest, np.full(len(rest), -1), names, False)
    return classes, found, names


def deal(labels, units, shares, seed, names=None):
    """Which images are trained on, chosen by and judged by; stratified by class, no unit on two sides.

    Iterative stratification: the class with the fewest images left is dealt first; each unit that holds it, in random
    order, goes to the side that lacks most images of that class. Units of one image come to the quotas exactly; of
    larger ones as near as they allow.

    Args:    labels: int [n], 0 to K - 1.  units: int [n], images of one unit (a patient) stay together.
             shares: of train, validation, test: each a share of the images below 1, or a number of images from 1 on;
             as `train` 0 takes all that the others leave. What is left over is on no side.
             seed: another one is another split.  names: of the classes, for errors; None = their numbers.
    Returns: three masks bool [n].
    Raises:  ValueError for shares that are more than there is, or a class with fewer units than sides.
    Source:  Sechidis et al., ECML PKDD 2011, algorithm 1, with units in place of images.
    """
    labels, units = np.asarray(labels), np.unique(units, return_inverse=True)[1]
    classes, counts = labels.max() + 1, np.bincount(labels)
    wanted = _quotas(shares, counts)
    held = np.zeros([units.max() + 1, classes], int)        # images of each class in a unit
    np.add.at(held, (units, labels), 1)
    used = sum(share > 0 or place == 0 for place, share in enumerate(shares))
    few = np.flatnonzero((held > 0).sum(0) < used)
    if len(few):
        told = repr(names[few[0]]) if names else few[0]
        raise ValueError(f"class {told} comes from {(held[:, few[0]] > 0).sum()} cases but {used} sides need one each; "
                         "add cases of it, or leave a side out.")
    random = np.random.default_rng([seed, 23])
    order, side = random.permutation(len(held)), np.full(len(held), -1)
    lacking = wanted.astype(float)
    while (side < 0).any():
        left = held[side < 0].sum(0)
        rarest = np.flatnonzero(left)[np.argmin(left[left > 0])]
        for unit in order[(side[order] < 0) & (held[order, rarest] > 0)]:
            need = lacking[:, rarest]
            best = np.flatnonzero(need == need.max())
            side[unit] = best[np.argmax(lacking[best].sum(1))]
            lacking[side[unit]] -= held[unit]
    return tuple(side[units] == place for place in range(3))


def _quotas(shares, counts):
    """Images of each class that train, validation, test and nobody is to have: [4,K]."""
    total = counts.sum()
    amounts = np.array([share * total if share < 1 else share for share in shares], float)
    if not shares[0]:
        amounts[0] = total - amounts[1:].sum()
    if amounts.min() < 0 or amounts[0] < 1 or amounts.sum() > total + 1e-6:
        raise ValueError(f"`deal` is {tuple(shares)} but the data have {total} labelled images; give shares below 1 or "
                         "numbers of images that are there, 0 for train = the rest.")
    amounts = np.append(amounts, total - amounts.sum())
    exact = amounts[:, None] * counts / total
    found = np.floor(exact + 1e-9)
    for label in range(len(counts)):        # largest remainders; a side that is wanted has one image at least
        found[:3][(amounts[:3] >= 1) & (found[:3, label] == 0), label] = 1
        while found[:, label].sum() < counts[label]:
            found[np.argmax(exact[:, label] - found[:, label]), label] += 1
        while found[:, label].sum() > counts[label]:
            found[np.argmax(found[:, label] - exact[:, label]), label] -= 1
    return found


def require_apart(units, names, sides):
    """Refuses a unit that has images on two sides.

    Args:    units: int [N], -1 = none.  names: of the units.  sides: {name: mask [N]}.
    Raises:  ValueError that names up to five of them.
    """
    taken = {name: set(units[mask & (units >= 0)].tolist()) for name, mask in sides.items()}
    listed = list(taken)
    for place, first in enumerate(listed):
        for second in listed[place + 1:]:
            both = sorted(taken[first] & taken[second])
            if both:
                told = ", ".join(names[unit] for unit in both[:5]) + (", ..." if len(both) > 5 else "")
                raise ValueError(f"{len(both)} cases have images both in {first} and in {second} ({told}) but a case "
                                 "must be on one side, else figures are those of known patients; move their images, "
                                 "or name no splits so that whole cases are dealt.")


def classes_of(records, classes=()):
    """The classes' names and the class of each row, -1 = no label.

    Args:    classes: names in the order wanted; () = those that the data have.
    Raises:  ValueError for labels that are not in the list, fewer than two classes or too few images of one.
    """
    have, column = records.names("label"), records.column("label")
    names = list(classes) or [name for place, name in enumerate(have) if (column == place).any()]
    strange = sorted({have[i] for i in np.unique(column[column >= 0])} - set(names))
    if strange:
        rows = np.flatnonzero(np.isin(column, [have.index(name) for name in strange]))
        paths = ", ".join(records.paths(rows[:3]))
        raise ValueError(f"{len(rows)} images in {records.directory} have the labels {', '.join(map(repr, strange))} "
                         f"({paths}{', ...' if len(rows) > 3 else ''}) but `classes` lists {', '.join(names)}; correct "
                         "the labels, leave the images out, or add the class.")
    places = np.array([names.index(name) if name in names else -1 for name in have] + [-1])
    labels = places[column]
    counts = np.bincount(labels[labels >= 0], minlength=len(names))
    if len(names) < 2:
        raise ValueError(f"the data in {records.directory} have {len(names)} class but a diagnosis needs at least 2; "
                         "write them with one sub-folder a class or a --csv with the column label.")
    few = [f"{name!r} ({count})" for name, count in zip(names, counts) if count < LEAST]
    if few:
        raise ValueError(f"of {', '.join(few)} there are fewer than {LEAST} labelled images in {records.directory} but "
                         f"a class needs {LEAST} at least; add images, correct the labels, or leave these images out.")
    return names, labels


def named_splits(records, config):
    """{side: split of the data} by the config, else by the names that the data have; None where images are dealt."""
    settings = config.data
    keys = {"train": settings.train_split, "validation": settings.validation_split, "test": settings.test_split}
    have = records.names("split") if records.has("split") else []
    if config.ignore_splits:
        return None
    if not any(keys.values()):
        keys = {side: next((name for name in have if name.lower() in words), "") for side, words in NAMED.items()}
        if not (keys["train"] and keys["test"]):
            return None
    for side, name in keys.items():
        if name and name not in have:
            raise ValueError(f"`data.{side}_split` is {name!r} but the data have the splits {', '.join(have) or 'none'}"
                             "; name one of them, or none of the three (--config.data.train_split= and so on): then "
                             "`deal` parts them.")
    named = [name for name in keys.values() if name]
    if not (keys["train"] and keys["test"]) or len(set(named)) < len(named):
        raise ValueError(f"`data.train_split` is {keys['train']!r}, `data.validation_split` {keys['validation']!r} and "
                         f"`data.test_split` {keys['test']!r} but the first and the last must be named, or none, and "
                         "no split may be two of them.")
    return keys


def sides_of(records, config, labels, names):
    """Masks [N] of train, validation and test: the splits that are named, else dealt by `deal`."""
    keys = named_splits(records, config)
    if keys is None:
        return _dealt(records, config, labels, names)
    column, have = records.column("split"), records.names("split")
    return [column == have.index(name) if name else np.zeros(records.count, bool) for name in keys.values()]


def _dealt(records, config, labels, names):
    rows = np.flatnonzero(labels >= 0)
    units = _units(records.column("case") if records.has("case") else None, records.count)
    shares = tuple(config.deal)
    if len(shares) != 3 or min(shares) < 0 or not shares[2]:
        raise ValueError(f"`deal` is {shares} but must be three numbers, of train (0 = the rest), validation (0 = "
                         "none) and test, shares below 1 or numbers of images; use (0, 0.15, 0.25).")
    parts = deal(labels[rows], units[rows], shares, config.seed, names)
    masks = np.zeros([3, records.count], bool)
    for mask, part in zip(masks, parts):
        mask[rows[part]] = True
    return masks


def units_of(split):
    """The case of each row, or a number of its own where it has none."""
    return _units(split.column("case"), len(split.rows))


def _units(cases, count):
    own = -1 - np.arange(count)
    return own if cases is None else np.where(cases >= 0, cases, own)


def _of_each_class(labels, train, config, names):
    """The training rows with as many images of each class as `class_labels` says, drawn by the seed."""
    counts = tuple(config.class_labels)
    if len(counts) != len(names) or min(counts) < 1 or config.labels:
        raise ValueError(f"`class_labels` is {counts} and `labels` {config.labels} but of {len(names)} classes there "
                         "must be as many numbers from 1 on, and labels=0.")
    found = np.zeros_like(train)
    for place, count in enumerate(counts):
        there = int((train & (labels == place)).sum())
        if there < count:
            raise ValueError(f"`class_labels` asks for {count} training images of class {names[place]!r} but there are "
                             f"{there}; ask for fewer.")
        found |= splits.first_of_each(labels, train & (labels == place), count, config.seed)
    return found


def _require_each(records, names, found, precise):
    """Refuses a class with fewer than two images to train on, or none to judge by."""
    for side, least, what in (("train", 2, "train on"), ("test", 1, "judge by")):
        have = np.bincount(found[side].identities if side in found else [], minlength=len(names))
        few = np.flatnonzero((have < least) & precise)
        if len(few):
            raise ValueError(f"class {names[few[0]]!r} has {have[few[0]]} images in {records.directory} to {what} but "
                             f"needs at least {least}; add some, or check `deal`, the splits and `class_labels`.")
