"""Re-identification of vehicles or persons: which image of a gallery shows the one of the query?"""

import numpy as np
import tensorflow as tf

from keras_apps import charts
from keras_apps.build import build
from keras_apps.embedding import EmbeddingNetwork
from keras_apps.embedding_app import EmbeddingApp, require_pairs
from keras_apps.metrics import collapse, consistency, protocols, ranking
from tfrecords.augment.pad_crop import PadCropAugment

WIDER = {"validation": "middle", "train": "large"}      # what joins the gallery, and the name of the figures then
ORIENTATION = "orientation"
FIGURES = ("rank1", "rank5", "map", "minp")
SHEET = 8, 6            # queries and answers in the ranked sheet


class VehicleReidApp(EmbeddingApp):
    """The strong baseline: distances are learned on the feature, identities on its batch-normalised embedding.

    L = weights.head head(embedding) + weights.metric loss(feature) + weights.center center(feature)

    with embedding = norm(feature) (BNNeck: "batch"; with "none" they are one), feature = projection of the neck's.
    Searched by the cosine of embeddings, or by the score of a matcher, whose terms join the loss.

    Config:  neck, embedding (D; 0 = as the neck gives it), dropout, norm ("batch" | "layer" | "none"), mirror,
             center ("" or a method of losses/metric with an optimizer group `center`), weights.{head, metric, center},
             protocol (of `metrics/protocols.py`), average_precision ("step" | "trapezoid"), query_camera (whose
             held-out images ask; "" = by `role`, where the data have none each asks all others), distractors (of
             "validation" and "train": whose images widen the gallery, for the figures `*_middle` and `*_large`; those
             of `train` were learned from), reranker ("" or a method of rerankers, for the figures `*_reranked`),
             matcher ("" or a method of matchers), restyle ("" or a method of tfrecords/augment that changes the
             gallery's images, for the figures `*_restyled`: what another light or camera would cost).
    Terms:   head, metric, center and the matcher's; only logged: active = share of the anchors whose metric is not 0.
    Info:    classes, shape (H, W, C), splits.
    """

    keys = ("neck", "embedding", "dropout", "mirror", "norm", "center", "weights", "protocol", "average_precision",
            "query_camera", "distractors", "reranker", "matcher", "restyle")

    def __init__(self, config, info):
        super().__init__(config, info)
        if not (config.head or config.loss):
            raise ValueError("`head` and `loss` are both empty but at least one must be named, such as "
                             "--config.loss=\"triplet()\".")
        if sorted(config.weights) != ["center", "head", "metric"]:
            raise ValueError(f"`weights` has {', '.join(sorted(config.weights))} but must have center, head and "
                             "metric.")
        if config.center and config.clip:
            raise ValueError(f"`clip` is {config.clip} but the gradient of the centres, which is divided by "
                             "`weights.center`, would fill the norm that it bounds; use clip=0, or center=\"\".")
        unknown = sorted(set(config.distractors) - set(WIDER))
        if unknown:
            raise ValueError(f"`distractors` has {', '.join(unknown)} but takes {' and '.join(WIDER)}.")
        if config.average_precision not in ("step", "trapezoid"):
            raise ValueError(f"`average_precision` is {config.average_precision!r} but must be step or trapezoid.")
        require_pairs(info.splits)
        self._require_sides(info.splits["test"])
        self.network = EmbeddingNetwork(config.backbone, config.pooling, config.embedding, info.shape, config.dropout,
                                        config.norm, config.neck)
        facts = {"classes": info.classes, "dimension": self.network.dimension, "seed": config.seed}
        self.head = config.head and build("heads", config.head, **facts)
        self.loss = config.loss and build("losses/metric", config.loss, **facts)
        self.center = config.center and build("losses/metric", config.center, weight=config.weights.center, **facts)
        self.reranker = config.reranker and build("rerankers", config.reranker)
        records = info.splits["test"].images.records
        kinds = records.column(ORIENTATION) if ORIENTATION in records.manifest["columns"] else None
        self._kinds = np.full(len(records), -1) if kinds is None else np.asarray(kinds)
        self.matcher = config.matcher and build(
            "matchers", config.matcher, kinds=0 if kinds is None else len(records.names(ORIENTATION)), **facts)
        self.restyle = config.restyle and build("tfrecords/augment", config.restyle)
        self._require_matching()

    def _require_matching(self):
        if not self.matcher:
            return
        if self.reranker:
            raise ValueError(f"`reranker` is {self.config.reranker!r} beside matcher {self.config.matcher!r} but a "
                             "re-ranker needs one vector an image, and a matcher makes two; use reranker="".")
        mirrors = [text for text in self.config.data.augment if text.startswith("flip")]
        if self.matcher.column == ORIENTATION and (self.config.mirror or mirrors):
            raise ValueError(f"`mirror` is {self.config.mirror} and `data.augment` has {mirrors} beside matcher "
                             f"{self.config.matcher!r} but a mirror image shows another orientation; use mirror=False "
                             "and no flip.")

    def variables(self, stage, phase):
        return self.grouped({"head": self.head, "loss": self.loss, "center": self.center, "matcher": self.matcher})

    def across(self):
        return bool(self.loss) or bool(self.matcher) or bool(getattr(self.head, "local", ()))

    def losses(self, phase, batch, seed, step):
        images = batch["image"]
        if self.matcher:
            kinds = tf.gather(tf.constant(self._kinds, tf.int32), batch["index"])
            images, kinds = self.matcher.prepare(images, kinds, tf.random.experimental.stateless_fold_in(seed, 1))
        feature, embedding = self.network.both(images, training=True, seed=seed)
        terms = self.matcher.losses(embedding, batch["label"], kinds) if self.matcher else {}
        if self.head:
            terms["head"] = self.head.loss(embedding, batch["label"], step)
        if self.loss:
            terms["metric"] = self.loss(feature, batch["label"])
            terms["active"] = tf.cast(terms["metric"] > 0, tf.float32)
        if self.center:
            terms["center"] = self.center(feature, batch["label"])
        return terms, None

    def weights(self, phase, step):
        methods = {"head": self.head, "metric": self.loss, "center": self.center}
        own = self.matcher.weights if self.matcher else {}
        return {**{name: self.config.weights[name] for name, method in methods.items() if method}, **own}

    # ---- evaluation

    def evaluate(self, splits):
        """The search of the held-out queries, pixels beside it as the floor; fits the threshold of `verify`.

        `rank<k>`, `map` and `minp` are of the gallery of the held-out images alone, `*_middle` and `*_large` of one
        that `distractors` widen. Queries without a match are left out of the means and counted as `unmatched`.
        """
        test = splits["test"]
        vectors, pixels = self.vectors_of(test)
        asked = self.asked_of(test)
        self.hold(vectors, pixels, test, asked)
        sides = self._sides(test)
        found = {"gallery": int(sides[1].sum()), **self._searched(vectors, test, sides, asked=asked)}
        found.update({f"floor_{name}": value for name, value in self._searched(pixels, test, sides).items()
                      if name in FIGURES})
        if self.reranker:
            found.update(_named(self._searched(vectors, test, sides, reranker=self.reranker), "reranked"))
        found.update(self._widened(vectors, pixels, splits, sides, asked))
        found["shift_consistency"] = self._consistency(vectors, test, sides)
        found.update(self._tracked(vectors, test, sides, asked))
        found.update(self._turned(vectors, test, sides, asked))
        if self.restyle:
            found.update(self._restyled(vectors, test, sides, asked))
        if self.matcher and not self.matcher.column:
            found.update(self._partial(vectors, test, sides))
        found.update(self.calibrate(vectors, test, asked))
        found.update({"identities": len(np.unique(test.identities)), "images": len(test.rows),
                      "unseen_identities": float(test.unseen), "effective_rank": collapse.effective_rank(vectors)})
        return found

    def _require_sides(self, test):
        query, gallery = self._sides(test)
        cameras = test.column("camera")
        for side, name in ((query, "queries"), (gallery, "gallery images")):
            if not side.any():
                have = [] if cameras is None else [test.images.records.names("camera")[i] for i in np.unique(cameras)]
                raise ValueError(f"`query_camera` is {self.config.query_camera!r} but the held-out images then hold no "
                                 f"{name}; their cameras are {have}.")
        protocols.require(self.config.protocol, cameras is not None)

    def _sides(self, split):
        """Masks of the rows that ask and of those that are searched."""
        cameras, roles, records = split.column("camera"), split.column("role"), split.images.records
        if self.config.query_camera:
            if cameras is None:
                raise ValueError(f"`query_camera` is {self.config.query_camera!r} but the data name no camera; leave "
                                 "it empty, or write the data with a --pattern that has (?P<camera>...).")
            names = records.names("camera")
            asking = cameras == (names.index(self.config.query_camera) if self.config.query_camera in names else -2)
            return asking, ~asking
        if roles is not None and {"query", "gallery"} <= set(records.names("role")):
            names = records.names("role")
            sides = roles == names.index("query"), roles == names.index("gallery")
            if sides[0].any() and sides[1].any():
                return sides
        return np.ones(len(split.rows), bool), np.ones(len(split.rows), bool)

    def _searched(self, vectors, split, sides, more=None, reranker=None, asked=None, column="camera"):
        """Figures of the search of a split's queries in its gallery and, beyond it, in `more` rows (vectors, split).

        Rows of the query's identity and of its value of `column` are junk, where the protocol has junk.
        """
        query, gallery = sides
        offered, identities, cameras = vectors[gallery], split.identities[gallery], split.column(column)
        offered_cameras = None if cameras is None else cameras[gallery]
        if more is not None:
            offered = np.concatenate([offered, more[0]])
            identities = np.concatenate([identities, more[1].identities])
            if cameras is not None:
                offered_cameras = np.concatenate([offered_cameras, more[1].column("camera")])
        both = query & gallery          # an image does not find itself
        own = np.where(both, np.cumsum(gallery) - 1, -1)[query] if both.any() else None
        return protocols.evaluate(
            (vectors if asked is None else asked)[query], offered, split.identities[query], identities,
            None if cameras is None else cameras[query], offered_cameras, self.config.protocol,
            precision=self.config.average_precision, same_index=own, reranker=reranker)

    def _widened(self, vectors, pixels, splits, sides, asked):
        test, found, joined = splits["test"], {}, []
        for name in (name for name in WIDER if name in self.config.distractors and name in splits):
            split = splits[name]
            split.keep_sound()
            offered = self._sides(split)[1]
            split = split.only(offered)
            joined.append((split, *self.vectors_of(split)))
            rest = joined[0][0].joined(*[each[0] for each in joined[1:]])
            own, floor = (np.concatenate([each[place] for each in joined]) for place in (1, 2))
            found[f"gallery_{WIDER[name]}"] = int(sides[1].sum()) + len(own)
            found.update(_named(self._searched(vectors, test, sides, (own, rest), asked=asked), WIDER[name]))
            found.update({f"floor_{key}": value for key, value in _named(
                self._searched(pixels, test, sides, (floor, rest)), WIDER[name]).items()})
            found[f"seen_identities_{WIDER[name]}"] = sum(
                len(np.unique(each[0].identities)) for each in joined if not each[0].unseen)
        return found

    def _consistency(self, vectors, split, sides):
        """Share of the queries whose first answer names the same identity for two shifts of the image."""
        places, embed = np.flatnonzero(sides[0]), self.compiled("ask" if self.matcher else "embed")
        move = PadCropAugment(max(1, min(self.info.shape[:2]) // 16))
        shifted = [[], []]
        for start in range(0, len(places), 256):
            images = split.load(places[start:start + 256])
            for number, side in enumerate(shifted):
                side.append(embed(move(images, tf.constant([start, number]), 1.0)).numpy())
        gallery = sides[1] & ~sides[0] if (sides[1] & ~sides[0]).any() else sides[1]
        return consistency.shift_consistency(*map(np.concatenate, shifted), vectors[gallery], split.identities[gallery])

    def _tracked(self, vectors, split, sides, asked):
        """The same search with the gallery, then both sides, as means of tracks; empty where the data have none."""
        tracks = split.column("track")
        if tracks is None or (tracks[sides[1]] < 0).all():
            return {}
        return protocols.by_tracks(vectors if asked is None else asked, vectors, split.identities,
                                   split.column("camera"), tracks, sides, self.config.protocol,
                                   self.config.average_precision)

    def _turned(self, vectors, split, sides, asked):
        """The same search where images of the query's identity and orientation are junk, as its camera's are."""
        kinds = split.column(ORIENTATION)
        if kinds is None or not protocols.drops_own_camera(self.config.protocol):
            return {}
        known = tuple(side & (kinds >= 0) for side in sides)
        if not all(side.any() for side in known):
            return {}
        try:
            return _named(self._searched(vectors, split, known, asked=asked, column=ORIENTATION), "turned")
        except ranking.NoMatchError:
            return {}

    def _restyled(self, vectors, split, sides, asked):
        """The same search among gallery images that are changed before they are embedded."""
        places, embed, offered = np.flatnonzero(sides[1]), self.compiled(), vectors.copy()
        for start in range(0, len(places), 256):
            rows = places[start:start + 256]
            changed = self.restyle(tf.constant(split.load(rows)), tf.constant([self.config.seed, start]), 1.0)
            offered[rows] = embed(changed).numpy()
        return _named(self._searched(offered, split, sides, asked=vectors if asked is None else asked), "restyled")

    def _partial(self, vectors, split, sides):
        """The search by parts of the queries, drawn by a fixed seed: of what is shown, and of the whole gallery."""
        drawn = np.random.default_rng(0).integers(len(self.matcher.boxes), size=len(split.rows), dtype=np.int32)

        @tf.function(input_signature=[tf.TensorSpec([None, *self.info.shape]), tf.TensorSpec([None], tf.int32)])
        def seen(images, kinds):
            part = self.matcher.crop(images, kinds)
            embedding, unit = self.look(part)
            kinds = tf.cast(tf.argmax(self.matcher.kind(embedding), axis=1), tf.int32)
            return self.ask(part), unit, kinds, self.look(images)[1]
        blocks = [slice(start, start + 256) for start in range(0, len(split.rows), 256)]
        asked, plain, kinds, whole = (np.concatenate(part) for part in zip(
            *[[one.numpy() for one in seen(split.load(rows), drawn[rows])] for rows in blocks]))
        return {**_named(self._searched(vectors, split, sides, asked=asked), "partial"),
                **_named(self._searched(whole, split, sides, asked=plain), "partial_whole"),
                "kind_accuracy": float(np.mean((kinds == drawn)[sides[0]]))}


    def pictures(self, splits):
        return {**super().pictures(splits), "ranking": self._sheet(splits["test"])}

    def _sheet(self, split):
        """Queries whose first match comes latest, and others, each with the first answers."""
        asked, vectors, cameras = self._held["asked"], self._held["vectors"], split.column("camera")
        query, gallery = map(np.flatnonzero, self._sides(split))
        query = query[np.linspace(0, len(query) - 1, min(len(query), 500)).astype(int)]
        scores = asked[query] @ vectors[gallery].T
        same = split.identities[query][:, None] == split.identities[gallery]
        junk = query[:, None] == gallery
        if cameras is not None and protocols.drops_own_camera(self.config.protocol):
            junk |= same & (cameras[query][:, None] == cameras[gallery])
        scores[junk] = -np.inf
        right = np.where(same & ~junk, scores, -np.inf).max(axis=1)
        rank = np.where(np.isfinite(right), (scores > right[:, None]).sum(axis=1), -1)
        order = np.argsort(-rank, kind="stable")
        count, answers = SHEET
        worst, others = order[:count // 2], order[count // 2:]
        spread = np.linspace(0, len(others) - 1, min(len(others), count - len(worst))).astype(int)
        chosen = np.concatenate([worst, others[spread]])
        best = np.argsort(-scores[chosen], axis=1, kind="stable")[:, :answers]
        needed = np.unique(np.concatenate([query[chosen], gallery[best].ravel()]))
        images = dict(zip(needed, split.load(needed)))
        name = [split.names[i] for i in split.identities]
        return charts.neighbours(
            [(images[query[at]], name[query[at]]) for at in chosen],
            [[(images[gallery[one]], name[gallery[one]], scores[at, one], bool(same[at, one]))
              for one in row if np.isfinite(scores[at, one])] for at, row in zip(chosen, best)],
            "Held-out queries, the worst first, and what they find")


def _named(figures, suffix):
    return {f"{name}_{suffix}": figures[name] for name in FIGURES}
