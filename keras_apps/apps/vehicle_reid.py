"""Re-identification of vehicles or persons: which image of a gallery shows the one of the query?"""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from keras_apps import charts
from keras_apps.app import BLOCK
from keras_apps.build import build
from keras_apps.embedding import EmbeddingNetwork
from keras_apps.embedding_app import EmbeddingApp, require_pairs
from keras_apps.gallery_search import GallerySearch
from keras_apps.metrics import collapse, consistency, protocols
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
        wrong = [name for name, value in config.weights.items() if not (math.isfinite(value) and value >= 0)]
        if wrong:
            raise ValueError(f"`weights.{wrong[0]}` is {config.weights[wrong[0]]} but must be a finite number of at "
                             "least 0; use 1.0.")
        unknown = sorted(set(config.distractors) - set(WIDER))
        if unknown:
            raise ValueError(f"`distractors` has {', '.join(unknown)} but takes {' and '.join(WIDER)}.")
        if config.average_precision not in ("step", "trapezoid"):
            raise ValueError(f"`average_precision` is {config.average_precision!r} but must be step or trapezoid.")
        require_pairs(info.splits)
        self.search = GallerySearch(config)
        self.search.require(info.splits["test"], "held-out")
        if config.best:
            self.search.require(info.splits["validation"], "validation")
        self.network = EmbeddingNetwork(config.backbone, config.pooling, config.embedding, info.shape, config.dropout,
                                        config.norm, config.neck)
        facts = {"classes": info.classes, "dimension": self.network.dimension, "seed": config.seed}
        self.head = config.head and build("heads", config.head, **facts)
        self.loss = config.loss and build("losses/metric", config.loss, **facts)
        self.center = config.center and build("losses/metric", config.center, weight=config.weights.center, **facts)
        self.reranker = config.reranker and build("rerankers", config.reranker)
        records = info.splits["test"].images.records
        kinds = records.column(ORIENTATION) if records.has(ORIENTATION) else None
        self._kinds = np.full(len(records), -1) if kinds is None else np.asarray(kinds)
        self.matcher = config.matcher and build(
            "matchers", config.matcher, kinds=0 if kinds is None else len(records.names(ORIENTATION)), **facts)
        self.restyle = config.restyle and build("tfrecords/augment", config.restyle)
        self._require_matching()

    def _require_matching(self):
        given = [key for key in ("matcher", "restyle", "distractors") if self.config[key]]
        if self.config.protocol == "vehicle_id" and given:
            raise ValueError(f"`{given[0]}` is {self.config[given[0]]!r} beside protocol vehicle_id but that draws its "
                             f"gallery anew from one set; empty `{given[0]}`, or use "
                             "another protocol.")
        if not self.matcher:
            return
        if self.config.data.mixing:
            raise ValueError(f"`data.mixing` is {self.config.data.mixing} beside matcher {self.config.matcher!r} but a "
                             "mixed image shows no one orientation or part; use data.mixing=\"()\".")
        if self.reranker:
            raise ValueError(f"`reranker` is {self.config.reranker!r} beside matcher {self.config.matcher!r} but a "
                             "re-ranker needs one vector an image, and a matcher makes two; use reranker=\"\".")
        mirrors = [text for text in self.config.data.augment if text.startswith("flip")]
        if self.matcher.column == ORIENTATION and (self.config.mirror or mirrors):
            raise ValueError(f"`mirror` is {self.config.mirror} and `data.augment` has {mirrors} beside matcher "
                             f"{self.config.matcher!r} but a mirror image shows another orientation; use mirror=False "
                             "and no flip.")

    def variables(self, stage, phase):
        return self.grouped({"head": self.head, "loss": self.loss, "center": self.center, "matcher": self.matcher})

    def across(self):
        return bool(self.loss) or bool(self.matcher and self.matcher.across) or bool(getattr(self.head, "local", ()))

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

        `rank<k>`, `map` and `minp` are of the gallery of the held-out images and of the data's own distractors,
        `*_middle` and `*_large` of one that `distractors` widen. Queries without a match are left out of the means and
        counted as `unmatched`, images that `data.test_images` kept out as `left_out`.
        """
        test = splits["test"]
        vectors, pixels = self.vectors_of(test)
        asked = self.asked_of(test)
        self.hold(vectors, pixels, test, asked)
        sides = self.search.sides(test)
        more = self._distractors(splits)
        found = {"gallery": int(sides[1].sum()) + sum(len(one[0].rows) for one in more),
                 "left_out": test.left_out + sum(one[0].left_out for one in more)}
        figures, floor = self.search.figures(vectors, pixels, test, sides, more, asked)
        found.update(figures)
        found.update({f"floor_{name}": value for name, value in floor.items() if name in FIGURES})
        if self.reranker:
            found.update(_named("reranked", *self.search.figures(
                vectors, pixels, test, sides, more, None, self.reranker)))
        found.update(self._widened(vectors, pixels, splits, sides, asked, more))
        found.update(self._consistency(vectors, test, sides))
        found.update(self._tracked(vectors, test, sides, asked))
        found.update(self._turned(vectors, pixels, test, sides, asked, more))
        if self.restyle:
            found.update(self._restyled(vectors, pixels, test, sides, asked))
        if self.matcher and not self.matcher.column:
            found.update(self._partial(vectors, pixels, test, sides))
        found.update(self.calibrate(vectors, test, asked))
        found.update({"identities": len(np.unique(test.identities)), "images": len(test.rows),
                      "unseen_identities": float(test.unseen), "effective_rank": collapse.effective_rank(vectors)})
        return found

    def _distractors(self, splits):
        """[(split, vectors, pixels)] of the gallery images without an identity, each given one of its own."""
        if "distractors" not in splits or self.config.protocol == "vehicle_id":
            return []
        split = splits["distractors"]
        split.keep_sound()
        own = dataclasses.replace(split, identities=len(split.names) + np.arange(len(split.rows)))
        return [(own, *self.vectors_of(own))] if len(own.rows) else []

    def _widened(self, vectors, pixels, splits, sides, asked, more):
        test, found, seen = splits["test"], {}, 0
        for name in (name for name in WIDER if name in self.config.distractors and name in splits):
            split = splits[name]
            split.keep_sound()
            split = split.only(self.search.sides(split)[1])
            most = self.config.data.test_images
            if len(split.rows) > most:
                split = split.only(np.linspace(0, len(split.rows) - 1, most).astype(int))
            if not len(split.rows):
                continue
            more = [*more, (split, *self.vectors_of(split))]
            seen += 0 if split.unseen else len(np.unique(split.identities))
            found[f"gallery_{WIDER[name]}"] = int(sides[1].sum()) + sum(len(one[0].rows) for one in more)
            found[f"seen_identities_{WIDER[name]}"] = seen
            found.update(_named(WIDER[name], *self.search.figures(vectors, pixels, test, sides, more, asked)))
        return found

    def _consistency(self, vectors, split, sides):
        """Share of the queries whose first answer names the same identity for two shifts of the image."""
        places, offered = map(np.flatnonzero, sides)
        embed = self.compiled("ask" if self.matcher else "embed")
        move = PadCropAugment(max(1, min(self.info.shape[:2]) // 16))
        shifted = [[], []]
        for start in range(0, len(places), BLOCK):
            images = split.load(places[start:start + BLOCK])
            for number, side in enumerate(shifted):
                side.append(embed(move(images, tf.constant([start, number]), 1.0)).numpy())
        share = consistency.shift_consistency(
            *map(np.concatenate, shifted), vectors[offered], split.identities[offered],
            lambda start, stop: self.search.junk(split, places[start:stop], offered))
        return {"shift_consistency": share} if math.isfinite(share) else {}

    def _tracked(self, vectors, split, sides, asked):
        """The same search with the gallery, then both sides, as means of tracks; empty where the data have none."""
        tracks = split.column("track")
        if tracks is None or (tracks[sides[1]] < 0).all():
            return {}
        return protocols.by_tracks(vectors if asked is None else asked, vectors, split.identities,
                                   split.column("camera"), tracks, sides, self.config.protocol,
                                   self.config.average_precision)

    def _turned(self, vectors, pixels, split, sides, asked, more):
        """The same search where images of the query's identity and orientation are junk, as its camera's are."""
        kinds = split.column(ORIENTATION)
        if kinds is None or not protocols.drops_own_camera(self.config.protocol):
            return {}
        known = tuple(side & (kinds >= 0) for side in sides)
        if not all(side.any() for side in known) or not self.search.matches(split, *known, kinds).any():
            return {}
        return _named("turned", *self.search.figures(vectors, pixels, split, known, more, asked, column=ORIENTATION))

    def _restyled(self, vectors, pixels, split, sides, asked):
        """The same search among held-out images that are changed before they are embedded."""
        places, embed = np.flatnonzero(sides[1]), self.compiled("embed")
        asked, plain = vectors if asked is None else asked, pixels
        vectors, pixels = vectors.copy(), pixels.copy()
        for start in range(0, len(places), BLOCK):
            rows = places[start:start + BLOCK]
            changed = self.restyle(tf.constant(split.load(rows)), tf.constant([self.config.seed, start]), 1.0)
            vectors[rows], pixels[rows] = embed(changed).numpy(), self.pixels(changed)
        figures, _ = self.search.figures(vectors, pixels, split, sides, [], asked)
        return _named("restyled", figures, self.search.figures(pixels, pixels, split, sides, [], plain)[0])

    def _partial(self, vectors, pixels, split, sides):
        """The search by parts of the queries, drawn by a fixed seed: of what is shown, and of the whole images."""
        drawn = np.random.default_rng(0).integers(len(self.matcher.boxes), size=len(split.rows), dtype=np.int32)

        @tf.function(input_signature=[tf.TensorSpec([None, *self.info.shape]), tf.TensorSpec([None], tf.int32)])
        def seen(images, kinds):
            part = self.matcher.crop(images, kinds)
            embedding, unit = self.look(part)
            kinds = tf.cast(tf.argmax(self.matcher.kind(embedding), axis=1), tf.int32)
            return self.ask(part), unit, kinds, self.look(images)[1], part
        blocks = []
        for start in range(0, len(split.rows), BLOCK):
            rows = slice(start, start + BLOCK)
            *parts, part = seen(split.load(rows), drawn[rows])
            blocks.append([*(one.numpy() for one in parts), self.pixels(part)])
        asked, plain, kinds, whole, plain_pixels = (np.concatenate(one) for one in zip(*blocks))
        floor, _ = self.search.figures(pixels, pixels, split, sides, [], plain_pixels)
        figures, _ = self.search.figures(vectors, pixels, split, sides, [], asked)
        among_whole, _ = self.search.figures(whole, pixels, split, sides, [], plain)
        return {**_named("partial", figures, floor), **_named("partial_whole", among_whole, floor),
                "kind_accuracy": float(np.mean((kinds == drawn)[sides[0]]))}

    def pictures(self, splits):
        return {**super().pictures(splits), "ranking": self._sheet(splits["test"])}

    def _sheet(self, split):
        """Queries whose first match comes latest, and others, each with the first answers."""
        asked, vectors = self._held["asked"], self._held["vectors"]
        query, gallery = map(np.flatnonzero, self.search.sides(split))
        query = query[np.linspace(0, len(query) - 1, min(len(query), 500)).astype(int)]
        scores = asked[query] @ vectors[gallery].T
        same = split.identities[query][:, None] == split.identities[gallery]
        junk = self.search.junk(split, query, gallery)
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


def _named(suffix, figures, floor):
    return {**{f"{name}_{suffix}": figures[name] for name in FIGURES},
            **{f"floor_{name}_{suffix}": floor[name] for name in FIGURES}}
