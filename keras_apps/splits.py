"""Which rows are trained on and which are held out; the same for every app."""

import dataclasses
import hashlib

import numpy as np


@dataclasses.dataclass
class Split:
    """Some rows of a collection with what an evaluation may ask of them."""

    images: object          # tfrecords.batch.Images
    rows: np.ndarray
    identities: np.ndarray  # [n] index into `names`
    names: list
    unseen: bool            # identities never trained on
    left_out: int = 0       # rows that `data.test_images` kept out

    def load(self, places=slice(None)):
        """Decoded images of the places, float32 [n,H,W,C]."""
        return self.images.load(self.rows[places], "decoding")

    def keep_sound(self):
        """Leaves out rows whose records are damaged."""
        rows = self.images.sound(self.rows)
        kept = np.isin(self.rows, rows)
        self.rows, self.identities = rows, self.identities[kept]

    def spread(self, most):
        """At most so many of these rows, drawn once and for all.

        Not every n-th one: of data whose classes take turns that would be some classes only.
        """
        if len(self.rows) <= most:
            return self
        chosen = np.sort(np.random.default_rng(21).permutation(len(self.rows))[:most])
        return dataclasses.replace(self, rows=self.rows[chosen], identities=self.identities[chosen],
                                   left_out=self.left_out + len(self.rows) - most)

    def sound(self):
        """These rows without those whose records are damaged; each is read once."""
        self.keep_sound()
        return self

    def only(self, chosen):
        """The rows of a mask."""
        return dataclasses.replace(self, rows=self.rows[chosen], identities=self.identities[chosen])

    def joined(self, *others):
        """These rows and those of others of the same collection."""
        splits = (self, *others)
        return dataclasses.replace(self, rows=np.concatenate([split.rows for split in splits]),
                                   identities=np.concatenate([split.identities for split in splits]),
                                   unseen=all(split.unseen for split in splits))

    def column(self, name):
        """Values of a column at the rows, or None where the data have no such column."""
        records = self.images.records
        return records.column(name)[self.rows] if records.has(name) else None


def episodes(split):
    """Masks of the rows to be compared with each other: one a case where the split holds episodes, else one of all."""
    cases = split.column("case")
    if cases is None or split.column("role") is None:
        return [np.ones(len(split.rows), bool)]
    return [cases == case for case in np.unique(cases)]


def select(images, config):
    """Deals the rows by the config.

    `data.train_split` names the split to train on; else `data.train_identities` the identities; else `data.holdout` is
    the share of identities, chosen by hash, that is kept back. Where too few identities would be left on a side
    (two of two images), that share of every identity's images is kept back instead. `labels` keeps that many images an
    identity for training, the rest of them are neither trained nor evaluated on. `data.test_images` bounds the memory
    and time of an evaluation, by whole identities or, of episodes (rows with a `case` where the data have a `role`), by
    whole cases: an N-way case stays N-way.

    Rows of role gallery without an identity are distractors: wrong answers to whatever is asked.

    `data.test_split` leaves of the held-out rows those of a split. `data.validation` is the share of the identities
    left to train on that is kept back as well, to choose by; `data.validation_split` names a split for that.

    Returns: labels [N] int32: class of a training row, -1 elsewhere; {"test": Split, "validation": Split, "train":
             Split, "distractors": Split of identities -1}, without those that have no rows; names of the classes.
    Raises:  ValueError where the data have one identity only, or an unknown one is named.
    """
    records, settings = images.records, config.data
    column = next(name for name in ("identity", "label") if records.has(name))
    identities, names = records.column(column), records.names(column)
    known = identities >= 0
    present = np.unique(identities[known])
    if len(present) < 2:
        raise ValueError(f"the data in {records.directory} have {len(present)} {column} but learning to tell apart "
                         "needs at least 2.")
    unseen = True
    if settings.train_split:
        train = known & _of_split(records, "train_split", settings.train_split)
        unseen = not set(identities[train]) & set(identities[known & ~train])
    elif settings.train_identities:
        chosen = parse_identities(settings.train_identities, names)
        train = known & np.isin(identities, chosen)
    else:
        held = held_identities(identities, names, settings.holdout)
        if held is None:
            unseen = False
            train = known & ~_held_rows(identities, settings.holdout)
        else:
            train = known & ~np.isin(identities, held)
    test = known & ~train
    if settings.validation_split:
        validation = known & _of_split(records, "validation_split", settings.validation_split)
        train, test = train & ~validation, test & ~validation
    else:
        train, validation = _without_validation(identities, train, names, settings.validation)
    if settings.test_split:
        test &= _of_split(records, "test_split", settings.test_split)
        if not test.any():
            raise ValueError(f"`data.test_split` is {settings.test_split!r} but all its rows are trained on or chosen "
                             "by; name another split, or `data.train_split`.")
    if config.labels:
        train &= first_of_each(identities, train, config.labels, config.seed)
    classes = np.unique(identities[train])
    if len(classes) < 2:
        raise ValueError(f"{len(classes)} identities are left to train on but at least 2 are needed; check "
                         "`data.train_split`, `data.train_identities` and `data.holdout`.")
    labels = np.full(records.count, -1, np.int32)
    labels[train] = np.searchsorted(classes, identities[train])
    rows = np.flatnonzero(_at_most(test, *_units(records, identities, names), settings.test_images))
    left_out = int(test.sum()) - len(rows)
    splits = {"test": Split(images, rows, identities[rows], names, unseen, left_out)} if len(rows) else {}
    rows = _distractors(records, ~known, settings)
    if len(rows):
        kept = rows[np.linspace(0, len(rows) - 1, min(len(rows), settings.test_images)).astype(int)]
        splits["distractors"] = Split(images, kept, identities[kept], names, True, len(rows) - len(kept))
    if validation.any():
        rows = np.flatnonzero(_at_most(validation, *_units(records, identities, names), settings.test_images))
        splits["validation"] = Split(images, rows, identities[rows], names,
                                     not set(identities[rows]) & set(identities[train]))
    rows = np.flatnonzero(train)
    splits["train"] = Split(images, rows, identities[rows], names, False)
    return labels, splits, [names[i] for i in classes]


def dealt(records, settings):
    """The rows trained on, to choose by and held out, for apps that judge images instead of pairs: three masks [N].

    By the splits that `data.train_split`, `validation_split` and `test_split` name. Where no test split is named, all
    that is in no named split is held out, or with none named the share `data.holdout`; of what is left to train on the
    share `data.validation` is to choose by. Shares are dealt by hash, of the case, else the track, else the image.
    """
    named = {key: _of_split(records, key, settings[key]) if settings[key] else None
             for key in ("train_split", "validation_split", "test_split")}
    train, validation, test = named.values()
    if test is None:
        free = np.ones(records.count, bool) if validation is None else ~validation
        rest = ~train if train is not None else _hashed_share(records, "test", settings.holdout, free)
        test = rest & ~validation if validation is not None else rest
    if train is None:
        train = ~test
    if validation is None:
        validation = _hashed_share(records, "validation", settings.validation, train & ~test)
    return train & ~validation & ~test, validation & ~test, test


def _hashed_share(records, what, share, among):
    """About a share of the rows `among`, whole tracks, cases or images; of two or more one at least, and not all."""
    if not share:
        return np.zeros(records.count, bool)
    keys = [f"{what} row {row}" for row in range(records.count)]
    for column in ("track", "case"):        # a case counts before a track: a patient may have several films
        names = records.names(column) if records.has(column) else []
        for row, value in enumerate(records.column(column) if names else ()):
            if value >= 0:
                keys[row] = f"{what} {column} {names[value]}"
    places = {key: hashed(key) for key in keys}
    order = sorted({places[keys[row]] for row in np.flatnonzero(among)})
    if len(order) < 2:
        return np.zeros(records.count, bool)
    limit = min(max(share * 2 ** 64, order[0] + 1), order[-1])
    return among & np.array([places[key] < limit for key in keys])


def _distractors(records, unknown, settings):
    if not records.has("role") or "gallery" not in records.names("role"):
        return np.zeros(0, int)
    chosen = unknown & (records.column("role") == records.names("role").index("gallery"))
    if settings.test_split:
        chosen &= _of_split(records, "test_split", settings.test_split)
    return np.flatnonzero(chosen)


def _of_split(records, key, name):
    """The rows of a split of the data."""
    have = records.names("split") if records.has("split") else []
    if name not in have:
        raise ValueError(f"`data.{key}` is {name!r} but the data have the splits {have}; name one of them, or set "
                         f"`data.{key}` to nothing (--config.data.{key}=): what is held back is then dealt by "
                         "`data.holdout`, of identities where there are any.")
    return records.column("split") == have.index(name)


def parse_identities(text, names):
    """Indices of "1-20,cat": names, or ranges of names that are numbers."""
    places = {name: i for i, name in enumerate(names)}
    numbers = {int(name): i for i, name in enumerate(names) if _is_number(name)}
    found = []
    for part in (word.strip() for word in text.split(",") if word.strip()):
        first, dash, last = part.partition("-")
        if part in places:
            found.append(places[part])
        elif dash and _is_number(first) and _is_number(last):
            inside = [i for number, i in numbers.items() if int(first) <= number <= int(last)]
            if not inside:
                raise ValueError(f"`data.train_identities` names {part} but the data have no identity in that range, "
                                 f"only such as {', '.join(names[:5])}.")
            found += inside
        else:
            raise ValueError(f"`data.train_identities` names {part!r} but the data have no such identity, only such as "
                             f"{', '.join(names[:5])}.")
    return sorted(set(found))


def _is_number(text):
    return text.isascii() and text.isdecimal()


def held_identities(identities, names, share):
    """Indices of the identities kept back, by hash of their names; None where either side would be too small."""
    counts = np.bincount(identities[identities >= 0], minlength=len(names))
    order = sorted(np.flatnonzero(counts), key=lambda i: hashed(names[i]))
    held = order[:round(share * len(order))]
    left = order[len(held):]
    if share and min(sum(counts[i] >= 2 for i in held), sum(counts[i] >= 2 for i in left)) < 2:
        return None
    return held


def _without_validation(identities, train, names, share):
    """The training rows without those of a share of their identities, by hash; and those.

    Raises:  ValueError where either side has fewer than two identities of two images.
    """
    if not share:
        return train, np.zeros_like(train)
    counts = np.bincount(identities[train], minlength=len(names))
    order = sorted(np.flatnonzero(counts), key=lambda i: hashed(f"validation {names[i]}"))
    held = order[:round(share * len(order))]
    if min(sum(counts[i] >= 2 for i in side) for side in (held, order[len(held):])) < 2:
        raise ValueError(f"`data.validation` is {share} but of the {len(order)} identities to train on each side needs "
                         "2 with 2 images; change it, or leave it 0 and choose nothing on the way.")
    chosen = train & np.isin(identities, held)
    return train & ~chosen, chosen


def _units(records, identities, names):
    """What an evaluation keeps or drops as a whole: units [N], keys to hash, how many of the keys are identities.

    An identity, but of episodes a case: without some of its identities it would be an easier task.
    """
    if not (records.has("case") and records.has("role")):
        return identities, names, len(names)
    cases = records.column("case")
    units = np.where(cases < 0, identities, len(names) + cases)
    return units, [*names, *(f"case {name}" for name in records.names("case"))], len(names)


def _at_most(chosen, units, keys, identities, most):
    """Whole units of the chosen rows, in the order of their hashes, while they are at most `most` images.

    One case or two identities are kept even where they are more.
    """
    if chosen.sum() <= most:
        return chosen
    counts = np.bincount(units[chosen], minlength=len(keys))
    order = np.array(sorted(np.flatnonzero(counts), key=lambda i: hashed(f"test {keys[i]}")))
    kept = np.count_nonzero(np.cumsum(counts[order]) <= most)
    least = 1 if order[0] >= identities else 2
    return chosen & np.isin(units, order[:max(kept, least)])


def hashed(text):
    """A number in [0, 2^64) that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _held_rows(identities, share):
    """A share of the images of every identity that has four, two at least."""
    held = np.zeros(len(identities), bool)
    for identity in np.unique(identities[identities >= 0]):
        rows = sorted(np.flatnonzero(identities == identity), key=lambda row: hashed(f"row {row}"))
        if len(rows) >= 4:
            held[rows[:max(round(share * len(rows)), 2)]] = True
    return held


def first_of_each(identities, among, count, seed):
    """`count` rows of each identity, drawn by the run's seed."""
    chosen = np.zeros(len(identities), bool)
    order = np.random.default_rng([seed, 20]).permutation(np.flatnonzero(among))
    order = order[np.argsort(identities[order], kind="stable")]
    same = identities[order]
    place = np.arange(len(order)) - np.searchsorted(same, same, "left")
    chosen[order[place < count]] = True
    return chosen
