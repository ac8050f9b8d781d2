"""Verification: are two images of the same identity, of which none was trained on?"""

import numpy as np
import tensorflow as tf

from keras_apps import charts
from keras_apps.app import BLOCK
from keras_apps.build import build
from keras_apps.embedding import EmbeddingNetwork
from keras_apps.embedding_app import EmbeddingApp, pairs_of, require_pairs
from keras_apps.metrics import collapse, ranking, verification

LOW_FIGURES = ("auc", "eer", "rank1")
LOW_SEED = 0            # of every run: all are judged on the same low images
LOW_SHOWN = 8           # images in the picture of them


class VerificationApp(EmbeddingApp):
    """An embedding trained by a classification head, a metric loss, or both; judged on held-out identities.

    Config:  embedding (D), dropout, mirror (average over the mirror image when embedding), norm (of the
             embedding: "batch" | "layer" | "none"), weights.head, weights.metric, and where wanted low (a method of
             tfrecords/augment that makes low-resolution images of the held-out ones, small and enlarged again, for the
             figures `*_lr_lr`: both images of a pair are low, and `*_lr_hr`: the one that asks is).
    Terms:   head = heads/<head>.loss, metric = losses/metric/<loss>; only logged: active = share of the anchors whose
             metric is not 0.
    Info:    classes, shape (H, W, C), splits.
    """

    keys = ("embedding", "dropout", "mirror", "norm", "weights", "low")
    captions = {"low": "Held-out images above what `low` makes of them: those that `*_lr_lr` and `*_lr_hr` ask about."}

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
        low = config.get("low", "")         # an optional key: configs of before have none
        self.low = low and build("tfrecords/augment", low)
        if self.low:
            lower = self.compiled("lower", tf.TensorSpec([None, *info.shape]), tf.TensorSpec([], tf.int32))
            shape = lower.get_concrete_function().output_shapes[1:].as_list()
            if shape != list(info.shape):
                raise ValueError(f"`low` is {low!r}, which makes {shape} of {list(info.shape)}, but the network takes "
                                 "all images at one size; use \"degrade()\", which enlarges them again.")

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
        if self.low:
            found.update(self._lowered(vectors, pixels, test))
        found.update(self.calibrate(vectors, test))
        found.update({"identities": len(np.unique(test.identities)), "images": len(test.rows),
                      "unseen_identities": float(test.unseen), "effective_rank": collapse.effective_rank(vectors)})
        return found

    def lower(self, images, start):
        """Low-resolution images [n,H,W,C] of a split's images from the place `start` on."""
        return self.low(images, tf.stack([LOW_SEED, start]), 1.0)

    def _lowered(self, vectors, pixels, split):
        """The figures among low images, and those of low images that ask among whole ones."""
        low, low_pixels = self.vectors_of(split, self.compiled("lower"))
        found = {}
        for prefix, whole, asked in (("", vectors, low), ("floor_", pixels, low_pixels)):
            # Of a pair either image may be the low one.
            either = [pairs_of(whole, split, asked), pairs_of(asked, split, whole)]
            measured = {"lr_lr": _measure(asked, pairs_of(asked, split), split),
                        "lr_hr": _measure(whole, map(np.concatenate, zip(*either)), split, asked)}
            found.update({f"{prefix}{name}_{kind}": figures[name] for kind, figures in measured.items()
                          for name in LOW_FIGURES})
        return found

    def pictures(self, splits):
        return {**super().pictures(splits), **({"low": self._sheet(splits["test"])} if self.low else {})}

    def about(self, result):
        note = (f"\n\nFigures `*_lr_lr` are of images that `{self.config.low}` has made low, `*_lr_hr` of such images "
                "that ask among whole ones." if self.low else "")
        return super().about(result) + note

    def _sheet(self, split):
        images = split.load(slice(0, BLOCK))        # a block, as its low images were drawn
        low = self.compiled("lower")(images, 0).numpy()
        shown = np.linspace(0, len(images) - 1, min(LOW_SHOWN, len(images))).astype(int)
        return charts.mosaic(np.concatenate([images[shown], low[shown]]), len(shown))


def _measure(vectors, pairs, split, asked=None):
    asked = vectors if asked is None else asked
    found = verification.all_metrics(*pairs)
    roles, cases = split.column("role"), split.column("case")
    within = None if roles is None else cases           # episodes are searched inside their case only
    ranked = ranking.ranking(asked, vectors, split.identities, split.identities,
                             same_index=np.arange(len(vectors)), query_cases=within, gallery_cases=within)
    found.update({name: ranked[name] for name in ("rank1", "rank5", "map")})
    if roles is not None and cases is not None:
        names = split.images.records.names("role")
        query, gallery = (roles == (names.index(name) if name in names else -2) for name in ("query", "gallery"))
        if np.isin(cases[query], cases[gallery]).any():
            found["oneshot_queries"] = int(np.isin(cases[query], cases[gallery]).sum())
            found["oneshot_accuracy"] = ranking.oneshot_accuracy(
                asked[query], vectors[gallery], split.identities[query], split.identities[gallery],
                cases[query], cases[gallery])
    return found
