"""Verification: are two images of the same identity, of which none was trained on?"""

import numpy as np
import tensorflow as tf

from keras_apps import charts
from keras_apps.app import App
from keras_apps.build import build
from keras_apps.embedding import EmbeddingNetwork
from keras_apps.metrics import ranking, verification
from keras_apps.splits import hashed

MAX_PAIRS = 10_000_000
FAR = 1e-2      # of the exported threshold


class VerificationApp(App):
    """An embedding trained by a classification head, a metric loss, or both; judged on held-out identities.

    Config:  embedding (D), dropout, mirror (average over the mirror image when embedding), weights.head, weights.loss.
    Terms:   head = heads/<head>.loss, loss = losses/metric/<loss>.
    Info:    classes, channels, shape (H, W, C).
    """

    def __init__(self, config, info):
        super().__init__(config, info)
        if not config.head and not config.loss:
            raise ValueError("`head` and `loss` are both empty but at least one must be named, such as "
                             "--config.head=\"cosface()\".")
        self.network = EmbeddingNetwork(config.backbone, config.pooling, config.embedding, info.shape, config.dropout)
        self.head = config.head and build("heads", config.head, classes=info.classes, dimension=config.embedding,
                                          seed=config.seed)
        self.loss = config.loss and build("losses/metric", config.loss)
        self.calibration = {}
        self._vectors = {}

    def variables(self, stage, phase):
        head = list(self.head.trainable_variables) if self.head else []
        apart = "head" in self.config.optimizers
        groups = {"network": self.network.trainable_variables + ([] if apart else head)}
        return {**groups, "head": head} if apart else groups

    def losses(self, phase, batch, seed, step):
        embeddings = self.network(batch["image"], training=True, seed=seed)
        terms = {}
        if self.head:
            terms["head"] = self.head.loss(embeddings, batch["label"], step)
        if self.loss:
            terms["loss"] = self.loss(embeddings, batch["label"])
        return terms, None

    def weights(self, phase, step):
        return {name: self.config.weights[name] for name in ("head", "loss") if getattr(self, name)}

    # ---- evaluation

    def embed(self, images):
        """Unit vectors [n,D] of images [n,H,W,C]."""
        return self.network.embed(images, self.config.mirror)

    def evaluate(self, splits):
        """Pairs and ranking on the held-out split, pixels beside them as the floor; fits the threshold.

        The threshold and the probability of the exported model are fitted on the pairs of one half of the held-out
        identities (by hash) and checked on the other half; auc, eer, tar, rank1 and map need no threshold and use all.
        """
        test = splits.get("test")
        if test is None:
            raise ValueError("no identity is held out to evaluate on; set `data.holdout` or `data.train_identities`.")
        images = test.load()
        self._vectors = {"test": self._embed_all(images)}
        found = self._measure(self._vectors["test"], test)
        pixels = images.reshape(len(images), -1)
        floor = self._measure(pixels - pixels.mean(axis=1, keepdims=True), test)
        found.update({f"floor_{name}": value for name, value in floor.items()})
        found.update(self._calibrate(self._vectors["test"], test))
        found.update({"identities": len(np.unique(test.identities)), "images": len(test.rows),
                      "unseen_identities": float(test.unseen)})
        return found

    def _embed_all(self, images):
        function = tf.function(self.embed, input_signature=[tf.TensorSpec([None, *self.info.shape], tf.float32)])
        return np.concatenate([function(images[i:i + 256]).numpy() for i in range(0, len(images), 256)])

    def _measure(self, vectors, split):
        scores, same = verification.pair_scores(vectors, split.identities, max_pairs=MAX_PAIRS)
        found = verification.all_metrics(scores, same)
        ranked = ranking.ranking(vectors, vectors, split.identities, split.identities,
                                 same_index=np.arange(len(vectors)))
        found.update({name: ranked[name] for name in ("rank1", "rank5", "map")})
        roles, cases = split.column("role"), split.column("case")
        if roles is not None and cases is not None:
            names = split.images.records.names("role")
            query, gallery = (roles == (names.index(name) if name in names else -2) for name in ("query", "gallery"))
            if query.any() and gallery.any():
                found["oneshot_accuracy"] = ranking.oneshot_accuracy(
                    vectors[query], vectors[gallery], split.identities[query], split.identities[gallery],
                    cases[query], cases[gallery])
        return found

    def _calibrate(self, vectors, split):
        half = np.array([hashed(f"half {split.names[i]}") % 2 for i in split.identities])
        sides = []
        for side in (half == 0, half == 1):
            scores, same = verification.pair_scores(vectors[side], split.identities[side], max_pairs=MAX_PAIRS) \
                if side.sum() > 1 else (np.zeros(0), np.zeros(0, bool))
            sides.append((scores, same) if same.any() and not same.all() else None)
        both = verification.pair_scores(vectors, split.identities, max_pairs=MAX_PAIRS)
        scores, same = sides[0] or both
        self.calibration = {"threshold": verification.threshold_at_far(scores, same, FAR), "far": FAR,
                            **verification.calibrate(scores, same), "pairs": len(scores)}
        found = {"threshold": self.calibration["threshold"]}
        if sides[0] and sides[1]:
            accepted = sides[1][0] >= found["threshold"]
            found["far_at_threshold"] = float(accepted[~sides[1][1]].mean())
            found["tar_at_threshold"] = float(accepted[sides[1][1]].mean())
        return found

    def pictures(self, splits):
        test = splits["test"]
        vectors = self._vectors["test"]
        images = test.load()
        pixels = images.reshape(len(images), -1)
        ours = verification.pair_scores(vectors, test.identities, max_pairs=MAX_PAIRS)
        floor = verification.pair_scores(pixels - pixels.mean(axis=1, keepdims=True), test.identities,
                                         max_pairs=MAX_PAIRS)
        return {"roc": charts.roc({"embedding": verification.roc(*ours)[:2], "pixels": verification.roc(*floor)[:2]}),
                "scores": charts.histogram(*ours, self.calibration.get("threshold")),
                "pairs": charts.pairs(images, vectors, test.identities, self.calibration.get("threshold", 0.0))}

    def projection(self, splits):
        test = splits["test"]
        return (self._vectors["test"], [test.names[i] for i in test.identities], test.load())

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
