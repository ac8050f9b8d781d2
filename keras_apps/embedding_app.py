"""What apps share whose network turns an image into a vector: terms, vectors of a split, threshold, signatures."""

import numpy as np
import tensorflow as tf

from keras_apps import charts
from keras_apps.app import BLOCK, App
from keras_apps.card import about_embedding
from keras_apps.metrics import verification
from keras_apps.splits import episodes, hashed

MAX_PAIRS = 10_000_000
FAR = 1e-2          # of the exported threshold
FLOOR_SIDE = 48     # pixels; bounds the memory of the floor
SHOWN = 2000        # held-out images in pictures and projector


class EmbeddingApp(App):
    """An app around `self.network`, an `EmbeddingNetwork`, that answers by the cosine of two embeddings.

    With a `self.matcher` an image that asks has another vector (`ask`) than one that is searched (`embed`).

    Config:  mirror (average over the mirror image when embedding).
    Info:    shape (H, W, C), splits.
    """

    needs = ("identity|label",)
    kinds = "identities"
    matcher = None      # or a method of keras_apps/matchers

    def __init__(self, config, info):
        super().__init__(config, info)
        self.calibration = {}
        self._held = {}

    def grouped(self, methods):
        """{group: [variables]} of the network and of methods {group: method or ""} that have variables.

        A method's go with the network's where the config names no optimizer for them.
        """
        groups = {"network": list(self.network.trainable_variables)}
        for name, method in methods.items():
            own = [*getattr(method, "trainable_variables", ()), *getattr(method, "local", ())]
            if own:
                groups.setdefault(name if self.config.optimizers.get(name) else "network", []).extend(own)
        return groups

    def look(self, images):
        """Embeddings as the network gives them, and at length one."""
        return self.network.look(images, self.config.mirror)

    def embed(self, images):
        """Unit vectors [n,D] of images [n,H,W,C] that are searched."""
        return self.matcher.offered(images, self.look) if self.matcher else self.look(images)[1]

    def ask(self, images):
        """Unit vectors [n,D] of images that ask."""
        return self.matcher.asked(images, self.look) if self.matcher else self.look(images)[1]

    def asked_of(self, split):
        """The vectors [n,D] by which a split's images ask; None where they are those of `vectors_of`."""
        if not self.matcher:
            return None
        ask = self.compiled("ask")
        return np.concatenate([ask(split.load(slice(start, start + BLOCK))).numpy()
                               for start in range(0, len(split.rows), BLOCK)])

    def vectors_of(self, split, change=None):
        """Embeddings [n,D] and the floor: pixels [n,P] of at most 48 x 48, each image about its own mean.

        Args:    change: (images, place of the first) -> images, applied to each block; None = as they are.
        """
        embed, vectors, pixels = self.compiled("embed"), [], []
        for start in range(0, len(split.rows), BLOCK):
            images = split.load(slice(start, start + BLOCK))
            images = images if change is None else change(images, start).numpy()
            vectors.append(embed(images).numpy())
            pixels.append(self.pixels(images))
        return np.concatenate(vectors), np.concatenate(pixels)

    def pixels(self, images):
        """The floor of images [n,H,W,C]: [n,P]."""
        side = [min(FLOOR_SIDE, length) for length in self.info.shape[:2]]
        small = images if side == list(images.shape[1:3]) else tf.image.resize(images, side, antialias=True)
        small = np.reshape(small, [len(small), -1])
        return small - small.mean(axis=1, keepdims=True)

    def hold(self, vectors, pixels, split, asked=None):
        """Keeps what pictures and figures of the held-out pairs are made of."""
        self._held = {"embedding": pairs_of(vectors, split, asked), "pixels": pairs_of(pixels, split),
                      "vectors": vectors, "asked": vectors if asked is None else asked}
        return self._held

    def calibrate(self, vectors, split, asked=None):
        """Fits the exported threshold and probability on the pairs of one half of the held-out identities (by hash).

        They are checked on the other half where both halves have pairs of both kinds, else fitted on all pairs.
        Returns: {metric: value}
        """
        half = np.zeros(len(split.rows), bool)
        for number, rows in enumerate(episodes(split)):
            keys = [f"case {number}"] * rows.sum() if not rows.all() else [split.names[i] for i in split.identities]
            half[rows] = [hashed(f"half {key}") % 2 == 0 for key in keys]
        sides = [pairs_of(vectors, split, asked, among) for among in (half, ~half)]
        if not all(same.any() and not same.all() for _, same in sides):
            sides = [self._held["embedding"], None]
        scores, same = sides[0]
        self.calibration = {"threshold": verification.threshold_at_far(scores, same, FAR), "far": FAR,
                            **verification.calibrate(scores, same), "pairs": len(scores)}
        found = {"threshold": self.calibration["threshold"], "threshold_far": FAR,
                 "threshold_pairs": int((~same).sum())}
        if sides[1]:
            accepted = sides[1][0] >= found["threshold"]
            found["far_at_threshold"] = float(accepted[~sides[1][1]].mean())
            found["tar_at_threshold"] = float(accepted[sides[1][1]].mean())
        return found

    def pictures(self, splits):
        shown = slice(0, SHOWN)
        curves = {name: verification.roc(*self._held[name])[:2] for name in ("embedding", "pixels")}
        return {"roc": charts.roc(curves),
                "precision_recall": charts.precision_recall(curves, self._held["embedding"][1].mean()),
                "scores": charts.histogram(*self._held["embedding"], self.calibration["threshold"]),
                "pairs": charts.pairs(splits["test"].load(shown), self._held["asked"][shown],
                                      self._held["vectors"][shown], splits["test"].identities[shown],
                                      self.calibration["threshold"])}

    def scored(self, splits):
        scores, same = self._held["embedding"]
        return {"pairs": (1 / (1 + np.exp(-self.calibration["scale"] * scores - self.calibration["bias"])), same)}

    def projection(self, splits):
        test, shown = splits["test"], slice(0, SHOWN)
        return self._held["vectors"][shown], [test.names[i] for i in test.identities[shown]], test.load(shown)

    def about(self, result):
        return about_embedding(self, result)

    def served(self):
        return [*self.network.variables, *(self.matcher.variables if self.matcher else ())]

    def signatures(self):
        if not self.calibration:
            raise ValueError("the verification threshold is not fitted yet; evaluate before exporting.")
        fitted = {name: tf.constant(self.calibration[name], tf.float32) for name in ("threshold", "scale", "bias")}

        def embed(images):
            return {"embedding": self.embed(images)}

        def ask(images):
            return {"embedding": self.ask(images)}

        def verify(first, second):
            score = tf.reduce_sum(self.ask(first) * self.embed(second), axis=1)
            threshold = tf.fill([tf.shape(score)[0]], fitted["threshold"])
            return {"score": score, "probability": tf.sigmoid(fitted["scale"] * score + fitted["bias"]),
                    "decision": score >= threshold, "threshold": threshold}
        asking = {"ask": {"function": ask, "images": 1}} if self.matcher else {}
        return {"embed": {"function": embed, "images": 1}, **asking, "verify": {"function": verify, "images": 2}}


def pairs_of(vectors, split, asked=None, among=None):
    """Scores and truth of the pairs of a split (or of the rows `among`), of episodes those inside a case.

    The earlier image of a pair asks by its row of `asked`, where that is given.
    """
    groups = [np.flatnonzero(rows if among is None else rows & among) for rows in episodes(split)]
    found = [verification.pair_scores(vectors[rows], split.identities[rows], max_pairs=MAX_PAIRS // len(groups),
                                      asked=None if asked is None else asked[rows])
             for rows in groups if len(rows) > 1]
    if not found:
        return np.zeros(0, np.float32), np.zeros(0, bool)
    return tuple(np.concatenate(part) for part in zip(*found))


def require_pairs(splits):
    """Refuses before the training what could not be judged after it."""
    test = splits.get("test")
    held = test.identities if test is not None else np.zeros(0, int)
    counts = [np.unique(held[rows], return_counts=True)[1] for rows in (episodes(test) if len(held) else ())]
    if not (any(len(count) > 1 for count in counts) and any(count.max() > 1 for count in counts)):
        raise ValueError(f"{len(held)} images of {len(np.unique(held))} identities are held out but judging needs 2 "
                         "identities, one of them with 2 images (of episodes: inside a case); hold back more by "
                         "`data.holdout` or `data.train_identities`, or add images (4 or more of each).")
