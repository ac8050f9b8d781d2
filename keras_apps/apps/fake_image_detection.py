"""Fake image detection: was an image made by a generator, also by one that was never trained on?"""

import numpy as np
import tensorflow as tf

from keras_apps import charts, shortcuts, splits
from keras_apps.app import BLOCK, App
from keras_apps.build import build, parse
from keras_apps.detection import DetectionNetwork
from keras_apps.metrics import detection, verification
from tfrecords.decode import size_text

FAKE = "fake"
WATCHED = 600       # images of a kind that are looked at while training
STRONG = 0.8        # balanced accuracy of a single fact from which on it is told as a shortcut
PASTED = 200        # real images that get a patch to test the map
SEEN, SEEN_TEST, HELD_OUT = "validation", "seen", "test"


class FakeImageDetectionApp(App):
    """A detector in two steps: pairs teach a common feature of fakes, then a classifier stands on it.

    Of pairs real-real and fake-fake count as the same, also where the fakes are of different generators, real-fake as
    different; a metric loss on the code learns that for `pair_share` of the steps. Then cross-entropy, or a margin
    head, trains the classifier and, unless `freeze`, all below it. With loss "" there are no pairs: the classifier
    alone has all steps.

    `held_out` names the generator whose fakes are never trained on, nor chosen or calibrated by; the test is on
    those of its fakes, and of the real images, that are held out, the split "seen" on held-out fakes of the others.
    Without it the test holds all generators. Score: the logit of fake minus that of real; argmax is 0. The exported
    threshold lets `false_alarms` of the validation's real images be called fake; seen generators alone fit it.

    Config:  held_out, loss (of losses/metric, on codes), pair_share, freeze, neck, code (numbers of the code), domain
             (pixels | spectrum | both), head ("" = convolutional), false_alarms, robustness (augmentations of
             tfrecords/augment that every test image goes through, each to its own figures).
    Terms:   pairs in phase pairs, active only logged; classifier in phase classifier.
    Info:    shape (H, W, C), splits.
    """

    keys = ("held_out", "pair_share", "freeze", "neck", "code", "domain", "false_alarms", "robustness")
    needs = ("label",)
    judged_by = "images"
    floor = "8 x 8 thumbnail"
    exact = True
    captions = {
        "roc": "Share of fakes found over the share of real images called fake, beside a logistic regression on 8 x 8 "
               "thumbnails.",
        "distances": "How far codes of two test images lie apart, at length one: the pairs are to bring real-real and "
                     "fake-fake together, whichever generator, and real-fake apart. Without pairs nothing trains the "
                     "code: then it is a random view of the network.",
        "maps": "Where the detector sees fakes when a patch of a fake is pasted into real images.",
        "mistakes": "Above fakes that look most real to the detector, below real images that look most fake.",
        "followed": "The held-out generator's figures while training. Nothing was chosen by them.",
    }

    def __init__(self, config, info):
        super().__init__(config, info)
        _require_sound(config)
        self.network = DetectionNetwork(config.backbone, config.neck, config.pooling, config.code, info.shape,
                                        config.domain, config.head, config.seed)
        self.loss = config.loss and build("losses/metric", config.loss, classes=2, dimension=config.code,
                                          seed=config.seed)
        self.maps_places = config.domain == "pixels"        # elsewhere a place of the map is also a frequency
        self.trials = {parse(text)[0]: build("tfrecords/augment", text) for text in config.robustness}
        if len(self.trials) < len(config.robustness):
            raise ValueError(f"`robustness` is {tuple(config.robustness)} but names one augmentation twice, whose "
                             "figures would have one name; leave one out.")
        self.calibration, self._floor, self._found = {}, [], {}

    # ---- which images

    @staticmethod
    def select(images, config):
        """Real and fake images of the split trained on, without the held-out generator; see the class.

        Splits: `train`, `validation` (of seen generators), `seen`, `test`; their identities are the fakes' generators,
        -1 = real. As many real images as fakes are judged.
        """
        records = images.records
        fake, source, names = _kinds(records)
        train, validation, test = splits.dealt(records, config.data)
        held = np.zeros(records.count, bool)
        if config.held_out:
            fakes = sorted({names[i] for i in source[fake]}) if names else []
            if config.held_out not in fakes:
                raise ValueError(f"`held_out` is {config.held_out!r} but the fakes in {records.directory} are of "
                                 f"{', '.join(fakes) or 'no named source'}; name one of them, or \"\" to hold none "
                                 "back.")
            held = fake & (source == names.index(config.held_out))
        train &= ~held
        labels = np.full(records.count, -1, np.int32)
        if config.labels:
            train &= splits.first_of_each(fake.astype(int), train, config.labels, config.seed)
        labels[train] = fake[train]
        judged = test & (~fake | held) if config.held_out else test
        for kind, mask in (("real", ~fake), (FAKE, fake)):
            for part, rows in (("train on", train), ("choose the threshold by", validation & ~held),
                               ("judge by", judged)):
                if not (rows & mask).any():
                    raise ValueError(f"the data in {records.directory} have no {kind} image to {part} but both real "
                                     "and fake ones are needed for each; add some, or check `data.holdout`, "
                                     "`data.validation`, the splits and `held_out`.")
        own = np.where(fake, source, -1)
        found = {"train": train, SEEN: validation & ~held, HELD_OUT: judged}
        if config.held_out and (test & fake & ~held).any():
            found[SEEN_TEST] = test & ~held
        made = {}
        for name, mask in found.items():
            rows = np.flatnonzero(mask)
            if name in (HELD_OUT, SEEN_TEST) or name == SEEN and len(rows) > config.data.test_images:
                rows = _balanced(rows, fake, config.data.test_images)
            left_out = int(mask.sum()) - len(rows) if config.data.test_images < mask.sum() else 0
            made[name] = splits.Split(images, rows, own[rows], names, name == HELD_OUT and bool(config.held_out),
                                      0 if name == "train" else left_out)
        return labels, made, ["real", FAKE]

    def stages(self):
        config = self.config
        pairs = min(max(1, round(config.steps * config.pair_share)), config.steps - 1) if config.loss else 0
        found = ({"name": "pairs", "steps": pairs, "phases": {"pairs": 1}, "batch": config.batch, "size": config.size},
                 {"name": "classifier", "steps": config.steps - pairs, "phases": {"classifier": 1},
                  "batch": config.batch, "size": config.size})
        return found if pairs else found[1:]

    def variables(self, stage, phase):
        trunk = {"network": self.network.trunk}
        if phase == "pairs":
            return trunk
        own = "classifier" if self.config.optimizers.get("classifier") else "network"
        if self.config.freeze:
            return {own: self.network.classifier}
        return ({"network": [*self.network.trunk, *self.network.classifier]} if own == "network" else
                {**trunk, own: self.network.classifier})

    def across(self):
        return bool(self.loss)

    def losses(self, phase, batch, seed, step):
        training = phase == "pairs" or not self.config.freeze
        maps = self.network.maps(batch["image"], training=training)
        if phase == "pairs":
            values = self.loss(self.network.codes(maps, training=True), batch["label"])
            return {"pairs": values, "active": tf.cast(values > 0, tf.float32)}, None
        if self.config.freeze:
            maps = tf.nest.map_structure(tf.stop_gradient, maps)
        if self.network.head:
            return {"classifier": self.network.head.loss(self.network.embeddings(maps, training), batch["label"],
                                                         step)}, None
        logits = self.network.logits(maps, training=True)
        return {"classifier": tf.nn.sparse_softmax_cross_entropy_with_logits(batch["label"], logits)}, None

    def weights(self, phase, step):
        return {phase: 1.0}

    # ---- scores

    def score(self, images):
        """[n]: the logit of fake minus that of real."""
        logits = self.network.logits(self.network.maps(images))
        return logits[:, 1] - logits[:, 0]

    def fake_map(self, images):
        """How fake each pixel's surroundings look: [n,H,W] in [0, 1]."""
        places = self.network.evidence(self.network.maps(images))
        return tf.image.resize(places[..., None], self.info.shape[:2])[..., 0]

    def code(self, images):
        return self.network.codes(self.network.maps(images))

    # ---- judging

    def probe(self, splits):
        """The shortcut probe, before anything is trained: what the training images' facts alone give away.

        Returns: sentences; those of facts that tell too much begin with "warning: ".
        """
        train = splits["train"]
        chosen = _balanced(np.arange(len(train.rows)), train.identities >= 0, shortcuts.BRIEF)
        brief = train.only(chosen).sound()
        encoded = brief.images.records.images(brief.rows)
        fake = brief.identities >= 0
        # Images that are stored as numbers have no format, nor a size that says anything.
        formats = [[] if brief.images.decoder.raw else shortcuts.codecs(np.array(encoded, object)[mask])
                   for mask in (~fake, fake)]
        records = brief.images.records
        sizes = np.stack([records.column(name)[brief.rows] for name in ("height", "width")], axis=1)
        found = shortcuts.probe(brief.load(), fake, encoded, sizes) if not brief.images.decoder.raw else {}
        strong = [name for name, score in found.items() if score.low > score.chance and score.accuracy > STRONG]
        self._probed = {f"probe_{name.replace(' ', '_')}": score.accuracy for name, score in found.items()}
        said = [f"shortcut probe: {name} alone tells real from fake in {score.accuracy:.1%} of the training images "
                f"held back (chance {score.chance:.0%})" for name, score in found.items()]
        if formats[0] != formats[1]:
            strong.append("file format")
            said.append(f"warning: the real images are stored as {', '.join(formats[0])}, the fakes as "
                        f"{', '.join(formats[1])}: the detector will learn the file format; write both by "
                        "--source=\"fakes(...)\".")
        said += [f"warning: {name} alone tells real from fake in {found[name].accuracy:.1%}: a shortcut that a "
                 "detector will take; bring both kinds to one codec, size, framing and content." for name in strong
                 if name in found]
        self._probed["shortcuts"] = ", ".join(strong)
        if not train.images.unresized:
            height, width = np.median(sizes, axis=0).astype(int).tolist()
            said.append(f"warning: the images, of {height} x {width} pixels in the middle, are resized to "
                        f"{self.info.shape[0]} x {self.info.shape[1]}, which blurs the traces that a detector looks "
                        f"for; train at their own size: --config.size={size_text(height, width)}.")
        return said

    def evaluate(self, splits):
        """Figures on the test at argmax and at the threshold, of seen generators, of changed images; the floor.

        Called with a validation split alone, as `best` does, it gives auc, f, precision, recall.
        """
        if "train" not in splits:
            split = splits[HELD_OUT]
            return _brief(self.over("score", split.load()), split.identities >= 0)
        test = splits[HELD_OUT]
        images, fake = test.load(), test.identities >= 0
        self._calibrate(splits[SEEN])
        scores = self.over("score", images)
        found = {**self._figures(scores, fake), **self._at_threshold(scores, test)}
        floor = self._fitted_floor(splits["train"])
        small = floor(images)
        found.update({f"floor_{name}": value for name, value in self._figures(small, fake).items()})
        found.update(_by_source(scores, test))
        if SEEN_TEST in splits:
            seen = splits[SEEN_TEST]
            shown, truth = seen.load(), seen.identities >= 0
            on_seen = self.over("score", shown)
            found.update({f"{name}_seen": value for name, value in self._figures(on_seen, truth).items()})
            found.update({f"floor_{name}_seen": value for name, value in self._figures(floor(shown), truth).items()})
            found.update(_by_source(on_seen, seen))
        for name, trial in self.trials.items():
            for kind, split, pixels in ((("", test, images),) + (
                    (("_seen", splits[SEEN_TEST], shown),) if SEEN_TEST in splits else ())):
                changed = np.concatenate([trial(pixels[i:i + BLOCK], [0, i], 1.0).numpy()
                                          for i in range(0, len(pixels), BLOCK)])
                found[f"auc{kind}_{name}"] = detection.auc(self.over("score", changed), split.identities >= 0)
        found.update(self._patches(test, images))
        found.update(_tracks(scores, test))
        if not hasattr(self, "_probed"):
            self.probe(splits)
        found.update(self._probed)
        found.update({"images": len(fake), "unseen_source": float(test.unseen), "left_out": test.left_out,
                      "threshold_reals": int((splits[SEEN].identities < 0).sum()),
                      "false_alarms": self.config.false_alarms,
                      "resized": float(not test.images.unresized)})
        self._found = {"images": images, "scores": scores, "floor": small, "fake": fake}
        return found

    @staticmethod
    def _figures(scores, fake):
        """At argmax, fake as the positive class and real as the positive class."""
        return {"auc": detection.auc(scores, fake), **detection.at_threshold(scores, fake, 0.0)}

    def _calibrate(self, split):
        """Threshold and probability, from real and fake images of seen generators that were not trained on."""
        scores, fake = self.over("score", split.load()), split.identities >= 0
        # As float32 arithmetic has it: what is served compares float32 numbers.
        threshold = detection.threshold_at_false_alarms(scores.astype(np.float32), fake, self.config.false_alarms)
        self.calibration = {"threshold": float(threshold), "false_alarms": self.config.false_alarms,
                            **verification.calibrate(scores, fake), "images": len(scores)}

    def _at_threshold(self, scores, split):
        threshold, fake = self.calibration["threshold"], split.identities >= 0
        found = {f"{name}_at_threshold": value
                 for name, value in detection.at_threshold(scores, fake, threshold).items()
                 if name in ("precision", "recall", "f")}
        errors = detection.attack_errors(scores, split.identities, threshold)
        return {**found, "threshold": threshold, **{name: errors[name] for name in ("apcer", "bpcer", "acer")}}

    def _fitted_floor(self, train):
        if not self._floor:
            chosen = train.only(_balanced(np.arange(len(train.rows)), train.identities >= 0, shortcuts.MOST)).sound()
            # In a list: what a module holds would be tracked.
            self._floor = (shortcuts.Thumbnail(chosen.load(), chosen.identities >= 0),)
        return self._floor[0]

    def _patches(self, test, images):
        """The share of the map's mass on a patch pasted into real images: of a fake, and as a control of a real image.

        The floor is the patch's share of the area; the control shows what the patch's rim alone does.
        """
        pasted = self._pasted(test, images)
        if pasted is None:
            return {}
        boxes, made = pasted
        found = {f"patch_mass{name}": float(detection.mass_in_box(self.over("fake_map", one), boxes).mean())
                 for name, one in made.items()}
        area = boxes[:, 2] * boxes[:, 3] / np.prod(self.info.shape[:2])
        return {**found, "floor_patch_mass": float(area.mean())}

    def _pasted(self, test, images):
        """(boxes [n,4], {"": real images with a patch of a fake, "_control": with one of another real image})."""
        real, fake = (np.flatnonzero(mask) for mask in (test.identities < 0, test.identities >= 0))
        count = min(PASTED, len(real) // 2, len(fake))
        height, width = self.info.shape[:2]
        if not self.maps_places or count < 2 or min(height, width) < 4:
            return None
        random = np.random.default_rng(0)
        real, fake = (random.permutation(rows) for rows in (real, fake))
        side = np.array([height // 2, width // 2])
        corners = random.integers(0, np.array([height, width]) - side + 1, [count, 2])
        boxes = np.concatenate([corners, np.tile(side, [count, 1])], axis=1)
        made = {}
        for name, rows in (("", fake[:count]), ("_control", real[count:2 * count])):
            one = images[real[:count]].copy()
            for place, (y, x, h, w) in enumerate(boxes):
                one[place, y:y + h, x:x + w] = images[rows[place], y:y + h, x:x + w]
            made[name] = one
        return boxes, made

    def follow(self, splits, step):
        """The held-out generator, else each one, while training: what is chosen by nothing, only watched."""
        test = splits[HELD_OUT]
        brief = test.only(_balanced(np.arange(len(test.rows)), test.identities >= 0, 2 * WATCHED))
        images, fake = brief.load(), brief.identities >= 0
        codes, scores = self.over("code", images), self.over("score", images)
        found = {**_brief(scores, fake), **_by_source(scores, brief),
                 **{name: float(value) for name, value in _distances(codes, fake).items()}}
        return found, {"distances": _distance_chart(codes, fake)}

    def pictures(self, splits):
        found = self._found
        curves = {"detector": verification.roc(found["scores"], found["fake"])[:2],
                  "8 x 8 thumbnail": verification.roc(found["floor"], found["fake"])[:2]}
        shown = _balanced(np.arange(len(found["fake"])), found["fake"], 2 * WATCHED)
        codes = self.over("code", found["images"][shown])
        return {"roc": charts.roc(curves, "false-alarm rate (real called fake)", "fakes found", "ROC on test images"),
                "scores": charts.histogram(found["scores"], ~found["fake"], self.calibration["threshold"],
                                           ("fake", "real"), "images", "score (logit of fake minus logit of real)",
                                           "Scores of test images"),
                "distances": _distance_chart(codes, found["fake"][shown]), **self._maps_picture(splits[HELD_OUT]),
                "mistakes": self._mistakes()}

    def _maps_picture(self, test):
        """{"maps": real images with a pasted fake patch (framed), above their maps}; {} where there are none."""
        pasted = self._pasted(test, self._found["images"])
        if pasted is None:
            return {}
        boxes, made = pasted
        images = made[""][:8]
        return {"maps": charts.overlays(images, self.over("fake_map", images), boxes[:8])}

    def _mistakes(self):
        """The worst mistakes: fakes that look most real above real images that look most fake."""
        scores, fake, images = (self._found[name] for name in ("scores", "fake", "images"))
        missed = np.flatnonzero(fake)[np.argsort(scores[fake], kind="stable")[:12]]
        alarms = np.flatnonzero(~fake)[np.argsort(-scores[~fake], kind="stable")[:12]]
        count = min(len(missed), len(alarms))
        return charts.mosaic(images[np.concatenate([missed[:count], alarms[:count]])], count)

    def scored(self, splits):
        calibration = self.calibration
        return {"fakes": (1 / (1 + np.exp(-calibration["scale"] * self._found["scores"] - calibration["bias"])),
                          self._found["fake"])}

    def projection(self, splits):
        test = splits[HELD_OUT]
        shown = _balanced(np.arange(len(test.rows)), test.identities >= 0, 2000)
        names = [test.names[i] if i >= 0 else "real" for i in test.identities[shown]]
        images = self._found["images"][shown]
        return self.over("code", images), names, images

    # ---- serving

    def served(self):
        return list(self.network.variables)

    def signatures(self):
        if not self.calibration:
            raise ValueError("the threshold is not fitted yet; evaluate before exporting.")
        fitted = {name: tf.constant(self.calibration[name], tf.float32) for name in ("threshold", "scale", "bias")}

        def detect(images):
            score = self.score(images)
            threshold = tf.fill([tf.shape(score)[0]], fitted["threshold"])
            return {"score": score, "probability": tf.sigmoid(fitted["scale"] * score + fitted["bias"]),
                    "decision": score >= threshold, "threshold": threshold}

        def fake_map(images):
            return {"map": self.fake_map(images)}
        found = {"detect": {"function": detect, "images": 1, "classes": ("real", FAKE)}}
        return {**found, "fake_map": {"function": fake_map, "images": 1}} if self.maps_places else found

    def about(self, result):
        config = self.config
        how = (f"fakes of `{config.held_out}`, of which none was trained on, and real images never trained on"
               if result["unseen_source"] else "fakes of generators it was trained on: nothing is known about others")
        probes = ", ".join(f"{name[len('probe_'):].replace('_', ' ')} {value:.1%}" for name, value in result.items()
                           if name.startswith("probe_"))
        return (f"Judged on {result['images']:,.0f} images, half of them fake: {how}. Fake is the positive class; "
                "figures without a suffix are at argmax. The threshold "
                f"lets {config.false_alarms:.0%} of the real validation images be called fake; on the test it calls "
                f"{result['bpcer']:.1%} of the real images fake and misses {result['apcer']:.1%} of the worst "
                f"generator's fakes. Shortcut probe, share of training images that one fact alone tells: {probes}.\n\n"
                "A fake of a kind that is not in the training may pass. The answer is evidence, not proof.\n\n"
                f"Network: `{config.backbone}`, neck `{config.neck}`, code of {config.code}; pairs "
                f"`{config.loss or 'none'}` for {config.pair_share if config.loss else 0:.0%} of the steps, head "
                f"`{config.head or 'convolutional'}`, input {config.domain}.")


def _require_sound(config):
    """Refuses what cannot be trained or judged."""
    if not 0 < config.pair_share < 1:
        raise ValueError(f"`pair_share` is {config.pair_share} but must lie in (0, 1); use 0.33, or loss=\"\" for "
                         "none.")
    if config.freeze and not config.loss:
        raise ValueError("`freeze` is True but `loss` is empty: nothing would teach what is frozen; set freeze=False.")
    if not 0 < config.false_alarms < 1:
        raise ValueError(f"`false_alarms` is {config.false_alarms} but must lie in (0, 1); use 0.01.")


def _kinds(records):
    """What is fake [N] bool, the source [N] and the sources' names.

    Raises:  ValueError without both kinds, for images without a label, or a source of both kinds.
    """
    names, labels = records.names("label"), records.column("label")
    if FAKE not in names or len(names) < 2:
        raise ValueError(f"the data in {records.directory} have the labels {', '.join(names) or '(none)'} but a "
                         f"detector needs `{FAKE}` and at least one other, such as `real`; write them by "
                         "--source=\"fakes(reals='...', pools=('...',))\" or into folders of those names.")
    if (labels < 0).any():
        raise ValueError(f"{int((labels < 0).sum())} images in {records.directory} have no label but each must be "
                         "known to be real or fake; leave them out.")
    fake = labels == names.index(FAKE)
    if not records.has("source"):
        return fake, np.zeros(records.count, int), ["fake"]
    source, sources = records.column("source"), records.names("source")
    both = sorted(set(source[fake]) & set(source[~fake]) - {-1})
    if both:
        raise ValueError(f"the source {sources[both[0]]!r} has real and fake images but must be on one side; give "
                         "the fakes their generator as source.")
    if (source[fake] < 0).any():
        raise ValueError(f"{int((source[fake] < 0).sum())} fakes in {records.directory} have no source; name the "
                         "generator of each, or leave the column out.")
    return fake, source, sources


def _balanced(rows, fake, most):
    """As many fakes as real ones among the rows, at most `most` together, drawn once and for all.

    Args:    fake: bool by row.
    """
    sides = [rows[~fake[rows]], rows[fake[rows]]]
    count = max(1, min(*map(len, sides), most // 2))
    random = np.random.default_rng(22)
    return np.sort(np.concatenate([random.permutation(side)[:count] for side in sides]))


def _brief(scores, fake):
    """The figures of a look while training, at argmax."""
    found = detection.at_threshold(scores, fake, 0.0)
    return {"auc": detection.auc(scores, fake), **{name: found[name] for name in ("f", "precision", "recall")}}


def _by_source(scores, split):
    """The share of each generator's fakes that argmax finds."""
    return {f"found_{split.names[source]}": float((scores[split.identities == source] >= 0).mean())
            for source in np.unique(split.identities[split.identities >= 0])}


def _tracks(scores, split):
    """Frames of a track scored together; {} where there are no tracks of several images."""
    tracks = split.column("track")
    if tracks is None:
        return {}
    # A name that a real and a fake film share is two tracks.
    pairs = np.stack([tracks, split.identities], axis=1)
    tracks = np.where(tracks < 0, -1, np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1))
    if len(np.unique(tracks[tracks >= 0])) == (tracks >= 0).sum():
        return {}
    mean, worst, first = detection.by_track(scores, tracks)
    fake = split.identities[first] >= 0
    if fake.all() or not fake.any():
        return {}
    return {"auc_track_mean": detection.auc(mean, fake), "auc_track_worst": detection.auc(worst, fake)}


def _pair_distances(codes, fake):
    """{"real-real" | "fake-fake" | "real-fake": distances} of the codes, at length one, of a few hundred images."""
    chosen = _balanced(np.arange(len(fake)), fake, WATCHED)
    codes, fake = codes[chosen] / np.linalg.norm(codes[chosen], axis=1, keepdims=True), fake[chosen]
    distance = np.sqrt(np.maximum(0, ((codes[:, None] - codes[None]) ** 2).sum(axis=2)))
    upper = np.triu(np.ones_like(distance, bool), 1)
    same = fake[:, None] == fake[None]
    return {"real-real": distance[upper & same & ~fake[:, None]], "fake-fake": distance[upper & same & fake[:, None]],
            "real-fake": distance[upper & ~same]}


def _distances(codes, fake):
    return {f"distance_{name.replace('-', '_')}": values.mean() for name, values in _pair_distances(
        codes, fake).items() if len(values)}


def _distance_chart(codes, fake):
    return charts.densities(_pair_distances(codes, fake), "distance of codes at length one",
                            "Distances of pairs of test images")
