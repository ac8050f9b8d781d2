"""Verification: are two images of the same identity, of which none was trained on?"""

import types

import numpy as np
import tensorflow as tf

from keras_apps import charts
from keras_apps.app import App
from keras_apps.build import build
from keras_apps.embedding import EmbeddingNetwork
from keras_apps.metrics import collapse, ranking, verification
from keras_apps.splits import hashed

MAX_PAIRS = 10_000_000
FAR = 1e-2          # of the exported threshold
FLOOR_SIDE = 48     # pixels; bounds the memory of the floor
SHOWN = 2000        # held-out images in pictures and projector


class VerificationApp(App):
    """An embedding trained by a classification head, a metric loss, or both; judged on held-out identities.

    Config:  embedding (D), dropout, mirror (average over the mirror image when embedding), norm (of the
             embedding: "batch" | "layer" | "none"), weights.head, weights.metric.
    Terms:   head = heads/<head>.loss, metric = losses/metric/<loss>; only logged: active = share of the anchors whose
             metric is not 0.
    Info:    classes, shape (H, W, C), splits.
    """

    keys = ("embedding", "dropout", "mirror", "norm", "weights")
    needs = ("identity|label",)

    def __init__(self, config, info):
        super().__init__(config, info)
        if not config.head and not config.loss:
            raise ValueError("`head` and `loss` are both empty but at least one must be named, such as "
                             "--config.head=\"cosface()\".")
        if sorted(config.weights) != ["head", "metric"]:
            raise ValueError(f"`weights` has {', '.join(sorted(config.weights))} but must have head and metric.")
        _require_pairs(info.splits)
        self.network = EmbeddingNetwork(config.backbone, config.pooling, config.embedding, info.shape, config.dropout,
                                        config.norm)
        facts = {"classes": info.classes, "dimension": config.embedding, "seed": config.seed}
        self.head = config.head and build("heads", config.head, **facts)
        self.loss = config.loss and build("losses/metric", config.loss, **facts)
        self.calibration = {}
        self._held = {}
        self._compiled = types.SimpleNamespace(embed=None)      # a module would make a function part of checkpoints

    def variables(self, stage, phase):
        groups = {"network": list(self.network.trainable_variables)}
        for name, method in (("head", self.head), ("loss", self.loss)):
            own = [*getattr(method, "trainable_variables", ()), *getattr(method, "local", ())]
            if own:     # with an optimizer of their own where the config names one
                groups.setdefault(name if name in self.config.optimizers else "network", []).extend(own)
        return groups

    def across(self):
        return bool(self.loss) or bool(getattr(self.head, "local", ()))

    def losses(self, phase, batch, seed, step):
        embeddings = self.network(batch["image"], training=True, seed=seed)
        terms = {}
        if self.head:
            terms["head"] = self.head.loss(embeddings, batch["label"], step)
        if self.loss:
            terms["metric"] = self.loss(embeddings, batch["label"])
            terms["active"] = tf.cast(terms["metric"] > 0, tf.float32)
        return terms, None

    def weights(self, phase, step):
        return {name: self.config.weights[name] for name, method in (("head", self.head), ("metric", self.loss))
                if method}

    # ---- evaluation

    def embed(self, images):
        """Unit vectors [n,D] of images [n,H,W,C]."""
        return self.network.embed(images, self.config.mirror)

    def evaluate(self, splits):
        """Pairs and ranking on the held-out split, pixels beside them as the floor; fits the threshold.

        Episodes (rows with a `case` and a `role`) are judged inside their case only: two episodes may show the same
        thing under two names. The threshold and the probability of the exported model are fitted on the pairs of one
        half of the held-out identities (by hash) and checked on the other half, where both halves have pairs of both
        kinds; auc, eer, tar, rank1 and map need no threshold and use all.
        """
        test = splits["test"]
        vectors, pixels = self._vectors_of(test)
        self._held = {"embedding": self._pairs(vectors, test), "pixels": self._pairs(pixels, test), "vectors": vectors}
        found = self._measure(vectors, self._held["embedding"], test)
        floor = self._measure(pixels, self._held["pixels"], test)
        found.update({f"floor_{name}": value for name, value in floor.items() if isinstance(value, float)})
        found.update(self._calibrate(vectors, test))
        found.update({"identities": len(np.unique(test.identities)), "images": len(test.rows),
                      "unseen_identities": float(test.unseen), "effective_rank": collapse.effective_rank(vectors)})
        return found

    def _vectors_of(self, split):
        """Embeddings [n,D] and the floor: pixels [n,P] of at most 48 x 48, each image about its own mean."""
        if self._compiled.embed is None:
            self._compiled.embed = tf.function(self.embed, autograph=False, input_signature=[
                tf.TensorSpec([None, *self.info.shape], tf.float32)])
        side = [min(FLOOR_SIDE, length) for length in self.info.shape[:2]]
        vectors, pixels = [], []
        for start in range(0, len(split.rows), 256):
            images = split.load(slice(start, start + 256))
            vectors.append(self._compiled.embed(images).numpy())
            small = images if side == list(images.shape[1:3]) else tf.image.resize(images, side, antialias=True).numpy()
            small = small.reshape(len(small), -1)
            pixels.append(small - small.mean(axis=1, keepdims=True))
        return np.concatenate(vectors), np.concatenate(pixels)

    def _pairs(self, vectors, split, among=None):
        """Scores and truth of the pairs of a split (or of the rows `among`), of episodes those inside a case."""
        groups = [np.flatnonzero(rows if among is None else rows & among) for rows in _episodes(split)]
        found = [verification.pair_scores(vectors[rows], split.identities[rows], max_pairs=MAX_PAIRS // len(groups))
                 for rows in groups if len(rows) > 1]
        if not found:
            return np.zeros(0, np.float32), np.zeros(0, bool)
        return tuple(np.concatenate(part) for part in zip(*found))

    def _measure(self, vectors, pairs, split):
        found = verification.all_metrics(*pairs)
        roles, cases = split.column("role"), split.column("case")
        within = None if roles is None else cases           # episodes are searched inside their case only
        ranked = ranking.ranking(vectors, vectors, split.identities, split.identities,
                                 same_index=np.arange(len(vectors)), query_cases=within, gallery_cases=within)
        found.update({name: ranked[name] for name in ("rank1", "rank5", "map")})
        if roles is not None and cases is not None:
            names = split.images.records.names("role")
            query, gallery = (roles == (names.index(name) if name in names else -2) for name in ("query", "gallery"))
            if np.isin(cases[query], cases[gallery]).any():
                found["oneshot_queries"] = int(np.isin(cases[query], cases[gallery]).sum())
                found["oneshot_accuracy"] = ranking.oneshot_accuracy(
                    vectors[query], vectors[gallery], split.identities[query], split.identities[gallery],
                    cases[query], cases[gallery])
        return found

    def _calibrate(self, vectors, split):
        half = np.zeros(len(split.rows), bool)
        for number, rows in enumerate(_episodes(split)):
            keys = [f"case {number}"] * rows.sum() if not rows.all() else [split.names[i] for i in split.identities]
            half[rows] = [hashed(f"half {key}") % 2 == 0 for key in keys]
        sides = [self._pairs(vectors, split, among) for among in (half, ~half)]
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
                "pairs": charts.pairs(splits["test"].load(shown), self._held["vectors"][shown],
                                      splits["test"].identities[shown], self.calibration["threshold"])}

    def scored(self, splits):
        scores, same = self._held["embedding"]
        return {"pairs": (1 / (1 + np.exp(-self.calibration["scale"] * scores - self.calibration["bias"])), same)}

    def projection(self, splits):
        test, shown = splits["test"], slice(0, SHOWN)
        return self._held["vectors"][shown], [test.names[i] for i in test.identities[shown]], test.load(shown)

    # ---- serving

    def signatures(self):
        if not self.calibration:
            raise ValueError("the verification threshold is not fitted yet; evaluate before exporting.")
        fitted = {name: tf.constant(self.calibration[name], tf.float32) for name in ("threshold", "scale", "bias")}

        def embed(images):
            return {"embedding": self.embed(images)}

        def verify(first, second):
            score = tf.reduce_sum(self.embed(first) * self.embed(second), axis=1)
            threshold = tf.fill([tf.shape(score)[0]], fitted["threshold"])
            return {"score": score, "probability": tf.sigmoid(fitted["scale"] * score + fitted["bias"]),
                    "decision": score >= threshold, "threshold": threshold}
        return {"embed": {"function": embed, "images": 1}, "verify": {"function": verify, "images": 2}}


def _episodes(split):
    """Masks of the rows to be compared with each other: one a case where the split holds episodes, else one of all."""
    cases = split.column("case")
    if cases is None or split.column("role") is None:
        return [np.ones(len(split.rows), bool)]
    return [cases == case for case in np.unique(cases)]


def _require_pairs(splits):
    """Refuses before the training what could not be judged after it."""
    test = splits.get("test")
    held = test.identities if test is not None else np.zeros(0, int)
    counts = [np.unique(held[rows], return_counts=True)[1] for rows in (_episodes(test) if len(held) else ())]
    if not (any(len(count) > 1 for count in counts) and any(count.max() > 1 for count in counts)):
        raise ValueError(f"{len(held)} images of {len(np.unique(held))} identities are held out but judging needs 2 "
                         "identities, one of them with 2 images (of episodes: inside a case); hold back more by "
                         "`data.holdout` or `data.train_identities`, or add images (4 or more of each).")
