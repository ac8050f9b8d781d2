"""Verification: are two images of the same identity, of which none was trained on?"""

import numpy as np
import tensorflow as tf

from keras_apps.build import build
from keras_apps.embedding import EmbeddingNetwork
from keras_apps.embedding_app import EmbeddingApp, require_pairs
from keras_apps.metrics import collapse, ranking, verification


class VerificationApp(EmbeddingApp):
    """An embedding trained by a classification head, a metric loss, or both; judged on held-out identities.

    Config:  embedding (D), dropout, mirror (average over the mirror image when embedding), norm (of the
             embedding: "batch" | "layer" | "none"), weights.head, weights.metric.
    Terms:   head = heads/<head>.loss, metric = losses/metric/<loss>; only logged: active = share of the anchors whose
             metric is not 0.
    Info:    classes, shape (H, W, C), splits.
    """

    keys = ("embedding", "dropout", "mirror", "norm", "weights")

    def __init__(self, config, info):
        super().__init__(config, info)
        if not config.head and not config.loss:
            raise ValueError("`head` and `loss` are both empty but at least one must be named, such as "
                             "--config.head=\"cosface()\".")
        if sorted(config.weights) != ["head", "metric"]:
            raise ValueError(f"`weights` has {', '.join(sorted(config.weights))} but must have head and metric.")
        if config.embedding < 1:
            raise ValueError(f"`embedding` is {config.embedding} but must be at least 1.")
        require_pairs(info.splits)
        self.network = EmbeddingNetwork(config.backbone, config.pooling, config.embedding, info.shape, config.dropout,
                                        config.norm)
        facts = {"classes": info.classes, "dimension": config.embedding, "seed": config.seed}
        self.head = config.head and build("heads", config.head, **facts)
        self.loss = config.loss and build("losses/metric", config.loss, **facts)

    def variables(self, stage, phase):
        return self.grouped({"head": self.head, "loss": self.loss})

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

    def evaluate(self, splits):
        """Pairs and ranking on the held-out split, pixels beside them as the floor; fits the threshold.

        Episodes (rows with a `case` and a `role`) are judged inside their case only: two episodes may show the same
        thing under two names. The threshold and the probability of the exported model are fitted on the pairs of one
        half of the held-out identities (by hash) and checked on the other half, where both halves have pairs of both
        kinds; auc, eer, tar, rank1 and map need no threshold and use all.
        """
        test = splits["test"]
        vectors, pixels = self.vectors_of(test)
        held = self.hold(vectors, pixels, test)
        found = _measure(vectors, held["embedding"], test)
        floor = _measure(pixels, held["pixels"], test)
        found.update({f"floor_{name}": value for name, value in floor.items() if isinstance(value, float)})
        found.update(self.calibrate(vectors, test))
        found.update({"identities": len(np.unique(test.identities)), "images": len(test.rows),
                      "unseen_identities": float(test.unseen), "effective_rank": collapse.effective_rank(vectors)})
        return found


def _measure(vectors, pairs, split):
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
