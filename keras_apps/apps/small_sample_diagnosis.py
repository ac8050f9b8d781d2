"""Small-sample diagnosis: which class is an image of, learnt from a few hundred, and how surely."""

import numpy as np
import tensorflow as tf

from keras_apps import diagnosis_report, probe
from keras_apps.app import BLOCK, App
from keras_apps.build import build, parse
from keras_apps.dealing import SIDES, select, units_of
from keras_apps.latent import LatentImages
from keras_apps.members import LEVELS, Member, in_blocks, mean_of
from keras_apps.metrics import calibration, diagnosis
from keras_apps.metrics.calibration import softmax
from keras_apps.metrics.sensitivity import output_sensitivity

DRAWS = 1000            # of the bootstrap
SHIFTED = 5             # looks, with those that are shifted
MOVED = 200             # held-out images whose answers' sensitivity is measured
ANSWERS = "network", "probe", "both"


class SmallSampleDiagnosisApp(App):
    """A classifier trained in stages, of which each may be left out.

    views     two augmented looks at each training image, also at those without a label, are brought together and
              pushed from all others (`views_loss`), for `view_share` of the steps; then a `probe`, a regularised
              logistic regression, is fitted on what the encoder knows, and keeps a copy of it.
    latent    with `glico_share`: a generator learns a vector for each labelled image (keras_apps/latent.py); from then
              on `glico_mix` of the batches are images that it makes between two of a class.
    head      with `init`: the head alone learns on the frozen encoder, its norms at rest, for `head_share` of the rest.
    pairs     codes of pairs of images learn by `loss`, of losses/pair, for `pair_share` of what is left.
    joint     alpha x classifier + (1 - alpha) x pairs. The classifier sees the first of each pair, without a `loss`
              every image.
    coarse    with `coarse`: heads of groups of the classes that validation images confuse learn too.

    `members` networks learn side by side from the same batches and answer as one: p = mean over members and `tta`
    looks; the answer is softmax(log p / T). `answer` says who speaks: the network, the probe, both, or, by the
    validation images, both unless one alone does clearly better. T and the confidence below which it abstains are
    fitted there too.

    Which images: named splits where the data have them or the config names them, else `deal`; whole cases (patients)
    and every class on each side. `labels` keeps so many labelled training images a class, drawn by the run's seed; the
    others, and those without a label, are seen in stage views alone.

    Config:  classes (names in order; () = those of the data), class_names ({name in the data: name to show}),
             class_labels (labelled training images of each class, in place of `labels`), positive (class that figures
             of two are about; "" = the last), deal (train, validation, test: shares or numbers of images),
             ignore_splits (of the data: all images are dealt), members, alpha, pair_share, view_share, view_batch,
             views, views_loss, probe, answer, head_share, neck, embedding, dropout, norm, classify (of
             losses/classify; "" = the head's own loss), maxout, glico_share, glico_mix, coarse (groups of each level),
             coarse_weight, coarse_exponent, coarse_share, tta (looks: 1, 2 = with the mirror image, 5 = shifted by a
             28th of the side, 10 = both), abstain (largest share of the validation images), explainer (of
             keras_apps/explainers), specificity (that a sensitivity is told at).
    Terms:   views; pairs, classifier, coarse_<level>, of further members with their number behind.
    Info:    shape (H, W, C), names, splits.
    """

    keys = ("classes", "class_names", "class_labels", "positive", "deal", "ignore_splits", "members", "alpha",
            "pair_share", "view_share", "view_batch", "views", "views_loss", "probe", "answer", "head_share", "neck",
            "embedding", "dropout", "norm", "classify", "maxout", "glico_share", "glico_mix", "coarse", "coarse_weight",
            "coarse_exponent", "coarse_share", "tta", "abstain", "explainer", "specificity")
    needs = ("label",)
    judged_by = "images"
    colourless = True
    floor = f"logistic regression on {probe.SIDE} x {probe.SIDE} thumbnails"
    captions = diagnosis_report.CAPTIONS

    def __init__(self, config, info):
        super().__init__(config, info)
        _require_sound(config)
        self.names = shown_names(info.names, config)
        self.positive = positive_of(info.names, config)
        train = info.splits.get("train")
        counts = (np.bincount(train.identities, minlength=len(info.names)) if train is not None
                  else np.ones(len(info.names), int)).tolist()
        made = [Member(config, info.shape, info.names, counts, config.seed + 1000 * place)
                for place in range(config.members)]
        self.members = made
        self.network = made[0].network      # what other runs may start from
        self.pair = config.loss and build("losses/pair", config.loss)
        self.views = config.view_share and build("losses/views", config.views_loss)
        self.explainer = config.explainer and build("explainers", config.explainer)
        self.choice = config.answer if config.answer in ANSWERS else "both" if config.probe else "network"
        self.latent = None
        if config.glico_share and train is not None:
            self.latent = LatentImages(train.rows, train.identities, train.images.records.count, info.shape,
                                       seed=config.seed)
        self.calibration, self._found = {}, {}

    # ---- which images

    @staticmethod
    def select(images, config):
        """Labels [N], the splits train, validation, test and unlabelled, and the classes' names; see the class."""
        return select(images, config, answerable)

    # ---- training

    def stages(self):
        config, steps = self.config, self.config.steps
        sampler = {"batch": config.batch, "size": config.size}
        found = []

        def add(name, count, **more):
            found.append({"name": name, "steps": count, "phases": {name: 1}, **sampler, **more})
            return count
        left = steps
        if config.view_share:
            left -= add("views", round(steps * config.view_share), views=config.views, unlabelled=True,
                        sampler="shuffle()", batch=self._view_batch())
        after = len(found)
        if config.glico_share:
            left -= add("latent", round(steps * config.glico_share), plain=True, sampler="shuffle()", anew=True)
            after += 1
        if config.head_share:
            left -= add("head", round(left * config.head_share))
        if self.pair and config.pair_share:
            left -= add("pairs", round(left * config.pair_share))
        coarse = round(left * config.coarse_share) if config.coarse else 0
        add("joint", left - coarse)
        if coarse:
            add("coarse", coarse)
        if after < len(found):
            found[after]["anew"] = True
        return tuple(stage for stage in found if stage["steps"])

    def _view_batch(self):
        """`view_batch`, or as many images as there are: copies of one would be pushed apart."""
        rows = sum(len(self.info.splits[name].rows) for name in ("train", "unlabelled") if name in self.info.splits)
        return min(self.config.view_batch, max(4, rows - rows % 4)) if rows else self.config.view_batch

    def variables(self, stage, phase):
        found = {}
        if phase == "latent":
            return {"latent" if self.config.optimizers.get("latent") else "network": self.latent.trainable}
        for member in self.members:
            groups = {"network": [], "head": []}
            if phase == "views":
                groups["network"] = [*member.network.backbone.trainable_variables,
                                     *member.projector.trainable_variables]
            if phase in ("pairs", "joint", "coarse"):
                groups["network"] = member.encoder
            if phase in ("head", "joint", "coarse"):
                groups["head"] = member.answering
            for name, own in groups.items():
                key = name if self.config.optimizers.get(name) else "network"
                found.setdefault(key, []).extend(own)
        return {name: own for name, own in found.items() if own}

    def starting(self):
        return self.members

    def across(self):
        return bool(self.config.view_share)

    def losses(self, phase, batch, seed, step):
        if phase == "latent":
            return {"latent": self.latent.loss(batch["image"], batch["index"], seed)}, None
        if self.latent is not None and phase != "views":
            batch = {**batch, "image": self._some_between(batch, tf.random.experimental.stateless_fold_in(seed, 99))}
        terms = {}
        for place, member in enumerate(self.members):
            own = tf.random.experimental.stateless_fold_in(seed, place)
            found = self._views(member, batch) if phase == "views" else self._labelled(member, phase, batch, own, step)
            terms.update({_numbered(name, place): values for name, values in found.items()})
        return terms, None

    def after_step(self, phase, carry):
        if phase == "latent":
            self.latent.return_to_sphere()

    def _some_between(self, batch, seed):
        """The images, or in `glico_mix` of the batches ones between them and others of their class."""
        drawn = tf.random.stateless_uniform([], seed) < self.config.glico_mix
        return tf.cond(drawn, lambda: self.latent.between(batch["index"], seed), lambda: batch["image"])

    def _views(self, member, batch):
        return {"views": self.views(member.projected(batch["views"][0]), None)}

    def _labelled(self, member, phase, batch, seed, step):
        labels, terms = batch["label"], {}
        frozen = phase == "head"
        maps, codes = member.codes(batch["image"], not frozen, seed)
        if self.pair and phase != "head":
            terms["pairs"] = self.pair(codes[0::2], codes[1::2], labels[0::2] == labels[1::2])
        if phase == "pairs":
            return terms
        firsts = slice(0, None, 2 if self.pair else 1)
        own = tf.stop_gradient(codes) if frozen else codes
        terms["classifier"] = member.classified(own[firsts], labels[firsts], step)
        if phase == "coarse":
            for level, values in zip(LEVELS, member.grouped(maps, labels)):
                terms[f"coarse_{level}"] = values
        return terms

    def weights(self, phase, step):
        alpha = self.config.alpha if self.pair else 1.0
        if phase == "latent":
            return {"latent": 1.0}
        own = {"views": {"views": 1.0}, "pairs": {"pairs": 1.0}, "head": {"classifier": 1.0}}.get(
            phase, {"classifier": alpha, **({"pairs": 1.0 - alpha} if self.pair else {})})
        if phase == "coarse":
            own.update({f"coarse_{level}": self.config.coarse_weight for level in LEVELS[:len(self.config.coarse)]})
        return {_numbered(name, place): weight for place in range(len(self.members)) for name, weight in own.items()}

    def between(self, stage, round, data):
        """After the views the probe is fitted; before stage coarse the groups are found. Both are kept as variables."""
        if stage not in ("views", "latent") and self.config.probe:
            self._settle_probe(True)
        if stage == "coarse":
            split = self.info.splits.get("validation", self.info.splits["train"])
            for member in self.members:
                answers = in_blocks(member.logs, split.load()).argmax(axis=1)
                table = diagnosis.confusion(answers, split.identities, len(self.names))
                for part in member.coarse:
                    part.find(table)
        return {}

    def _settle_probe(self, final):
        """Fits the probes that are not fitted for good; `final` where the encoder goes on to other things."""
        train = self._precise(self.info.splits["train"])
        for member in self.members:
            if not member.probed.numpy():
                member.fit_probe(train.load(), train.identities, units_of(train), self.config.seed)
                member.probed.assign(final)

    # ---- answers

    def looks(self, images):
        """The images as they are and as `tta` asks: a list of [n,H,W,C]."""
        height, width = self.info.shape[:2]
        found = [images]
        if self.config.tta >= SHIFTED:
            far = max(1, round(max(height, width) / 28))
            padded = tf.pad(images, [[0, 0], [far, far], [far, far], [0, 0]], "SYMMETRIC")
            found += [padded[:, y:y + height, x:x + width] for y, x in ((0, far), (2 * far, far), (far, 0),
                                                                       (far, 2 * far))]
        return found + [tf.reverse(look, [2]) for look in found] if self.config.tta % 2 == 0 else found

    def parts(self, images):
        """Log probabilities [P,n,K] of every member and look, of network and probe: {"network": .., "probe": ..}."""
        looks, found = self.looks(images), {}
        for name, speaks in (("network", self._network_speaks), ("probe", self.config.probe)):
            if speaks:
                method = "logs" if name == "network" else "probe_logs"
                found[name] = tf.stack([getattr(member, method)(look) for member in self.members for look in looks])
        return found

    @property
    def _network_speaks(self):
        return any(stage["name"] not in ("views", "latent") for stage in self.stages())

    def chosen(self, parts, who=""):
        """The parts [P,n,K] of who speaks, `who` or the choice."""
        who = who or self.choice
        return tf.concat(list(parts.values()), 0) if who == "both" else parts[who]

    def answer(self, images):
        """{"logs": log p [n,K], "disagreement": [n] in [0, 1]}, before any temperature.

        p = mean of the parts' probabilities;  disagreement = (H(p) - mean H(parts)) / log K
        """
        return mean_of(self.chosen(self.parts(images)))

    def embed(self, images):
        """Unit vectors [n,D]: the codes of all members side by side; of a probe alone its features about their mean."""
        if self.choice == "probe":
            vectors = [member.features(images) for member in self.members]
        else:
            vectors = [member.codes(images, False, None)[1] for member in self.members]
        vectors = [tf.math.l2_normalize(tf.cast(one, tf.float32), axis=1) for one in vectors]
        return tf.concat(vectors, axis=1) / len(vectors) ** 0.5

    def explain(self, images):
        """Where the evidence for the answer lies: [n,H,W] in [0, 1], the mean over the members."""
        classes = tf.argmax(self.answer(images)["logs"], axis=1, output_type=tf.int32)
        maps = [self.explainer(*self._taken_apart(member), images, classes) for member in self.members]
        found = tf.add_n(maps)
        return tf.math.divide_no_nan(found, tf.reduce_max(found, axis=(1, 2), keepdims=True))

    def _taken_apart(self, member):
        """map_of, logits_of: what an explainer asks a member by."""
        if self.choice == "network" and not member.coarse and parse(self.config.neck)[0] == "last":
            return (lambda images: member.network.backbone(images)["map5"],
                    lambda map: member.logs_of_maps({"map5": map}))
        ways = {"network": [member.logs], "probe": [member.probe_logs], "both": [member.logs, member.probe_logs]}
        return tf.identity, lambda images: tf.add_n([way(images) for way in ways[self.choice]])

    # ---- judging

    def probe(self, splits):
        return diagnosis_report.notes(self, splits)

    def evaluate(self, splits):
        """Figures of the held-out images with their intervals, of each cohort, of other splits; see diagnosis_report.

        Called with a validation split alone, as `best` does, it gives auc, accuracy, f and nll.
        """
        if self.config.probe:
            self._settle_probe(False)
        if "train" not in splits:
            parts = self._parts_of(splits["test"])
            logs = _mean_logs(self.chosen(parts))
            found = diagnosis.figures(np.exp(logs), splits["test"].identities, self.positive)
            return {name: found[name] for name in ("auc", "accuracy", "f", "nll")}
        parts = {name: self._parts_of(splits[name]) for name in SIDES if name in splits}
        self._choose(parts.get("validation"), splits.get("validation"))
        found = self._each_alone(parts["test"], splits["test"])
        logs = {name: mean_of(self.chosen(own)) for name, own in parts.items()}
        logs = {name: {key: value.numpy() for key, value in own.items()} for name, own in logs.items()}
        self._calibrate(logs.get("validation"), splits.get("validation"))
        found.update(self._judge(logs, splits))
        found.update(self._beside(splits))
        found.update({"images": len(splits["test"].rows), "left_out": splits["test"].left_out,
                      "labelled": len(splits["train"].rows),
                      "unlabelled": len(splits["unlabelled"].rows) if "unlabelled" in splits else 0,
                      "answer": self.choice,
                      "positive": "" if self.positive is None else self.names[self.positive]})
        return found

    def _parts_of(self, split):
        return self._all_parts(split.load())

    def _all_parts(self, images):
        if not hasattr(self._graphs, "all_parts"):
            self._graphs.all_parts = tf.function(self.parts, autograph=False)
        blocks = [self._graphs.all_parts(images[i:i + BLOCK]) for i in range(0, len(images), BLOCK)]
        return {name: np.concatenate([block[name].numpy() for block in blocks], axis=1) for name in blocks[0]}

    def _choose(self, parts, split):
        """Who speaks, where the validation is to say: both, unless one alone has clearly less loss.

        Each with a temperature of its own; clearly: by more than the standard error of the difference.
        """
        if self.config.answer != "validation":
            return
        names = self.parts_there if len(self.parts_there) == 1 else ANSWERS
        losses = {}
        for name in names if split is not None else ():
            logs = _mean_logs(self.chosen(parts, name))
            answers = softmax(logs / self._temperature_of(logs, split))
            losses[name] = -np.log(np.maximum(answers[np.arange(len(answers)), split.identities], diagnosis.LEAST))
        self.choice = names[-1]
        if losses:
            best = min(losses, key=lambda name: losses[name].mean())
            more = losses[self.choice] - losses[best]
            if more.mean() > more.std() / len(more) ** 0.5:
                self.choice = best

    def _each_alone(self, parts, split):
        """auc_network, auc_probe and auc_both, where there are several who may answer."""
        return {f"auc_{name}": diagnosis.figures(np.exp(_mean_logs(self.chosen(parts, name))), split.identities,
                                                 self.positive)["auc"]
                for name in (ANSWERS if len(parts) > 1 else ())}

    @property
    def parts_there(self):
        return [name for name, there in (("network", self._network_speaks), ("probe", self.config.probe)) if there]

    def _calibrate(self, logs, split):
        """Temperature and the confidence to abstain below, of the validation images; 1 and 0 without any."""
        self.calibration = {"temperature": 1.0, "least_confidence": 0.0, "answer": self.choice, "fitted_on": 0}
        if split is None:
            return
        temperature = self._temperature_of(logs["logs"], split)
        calibrated = softmax(logs["logs"] / temperature)
        least = calibration.abstention_threshold(calibrated.max(axis=1), calibrated.argmax(axis=1) == split.identities,
                                                 self.config.abstain)
        self.calibration.update(temperature=float(temperature), least_confidence=float(least),
                                fitted_on=len(split.rows))

    def _temperature_of(self, logs, split):
        """Of the classes that can be answered: the others' logits would be all that counts."""
        own = answerable(self.config, self.info.names)
        return calibration.fit_temperature(logs[:, own], (np.cumsum(own) - 1)[split.identities])

    def _precise(self, split):
        """The images of a split whose label can be an answer."""
        return split.only(answerable(self.config, self.info.names)[split.identities])

    def _judge(self, logs, splits):
        temperature, least = self.calibration["temperature"], self.calibration["least_confidence"]
        found, test = {}, splits["test"]
        answers = {name: softmax(own["logs"] / temperature) for name, own in logs.items()}
        for name, suffix in (("train", "_train"), ("validation", "_validation"), ("test", "")):
            if name in answers:
                own = diagnosis.figures(answers[name], splits[name].identities, self.positive)
                found.update({f"{key}{suffix}": value for key, value in own.items()})
        probabilities, truth = answers["test"], test.identities
        found.update(diagnosis_report.intervals(probabilities, truth, self.positive, units_of(test), DRAWS))
        found.update(diagnosis_report.of_cohorts(probabilities, test, self.positive, units_of(test), DRAWS))
        found.update(diagnosis_report.operating(probabilities, truth, self.positive, self.config.specificity))
        raw = softmax(logs["test"]["logs"])
        right = probabilities.argmax(axis=1) == truth
        found["ece_uncalibrated"] = diagnosis.ece(raw.max(axis=1), right)
        plain = diagnosis.figures(raw, truth, self.positive)
        found.update({f"{name}_uncalibrated": plain[name] for name in ("nll", "accuracy")})
        found["temperature"] = temperature
        never = sorted(set(truth.tolist()) - set(probabilities.argmax(axis=1).tolist()))
        found["never"] = ", ".join(self.names[place] for place in never)
        found["commonest_accuracy"] = float(np.bincount(truth).max() / len(truth))
        found.update(diagnosis_report.abstaining(probabilities, right, least, logs["test"]["disagreement"]))
        self._found = {"images": test.load(), "probabilities": probabilities, "raw": raw, "truth": truth,
                       "answers": answers, "disagreement": logs["test"]["disagreement"]}
        return found

    def _beside(self, splits):
        """The floor, the neighbours' vote, and how far answers move with noise."""
        train, test = self._precise(splits["train"]), splits["test"]
        found = {}
        floor = probe.thumbnail_floor(train.load(), train.identities, len(self.names), units_of(train),
                                      self.config.seed)(self._found["images"])
        self._found["floor"] = floor
        figures = diagnosis.figures(floor, test.identities, self.positive)
        found.update({f"floor_{name}": value for name, value in figures.items()})
        vectors = {name: self.over("embed", split.load()) for name, split in (("train", train), ("test", test))}
        votes = diagnosis.vote(vectors["train"], train.identities, vectors["test"], len(self.names),
                               diagnosis_report.NEIGHBOURS)
        figures = diagnosis.figures(votes, test.identities, self.positive)
        found.update({f"{name}_vote": figures[name] for name in ("accuracy", "precision", "recall", "specificity", "f",
                                                                 "auc")})
        moved = output_sensitivity(lambda images: _mean_logs(self.chosen(self._all_parts(images))),
                                   test.spread(MOVED).load(), self.config.seed, draws=4)
        found.update({f"output_sensitivity_{name}": value for name, value in moved.items()})
        return found

    def grids(self, result):
        return diagnosis_report.grids(self, result)

    def pictures(self, splits):
        return diagnosis_report.pictures(self, splits)

    def files(self, splits):
        return {"predictions.csv": diagnosis_report.predictions(self, splits)}

    def projection(self, splits):
        test = splits["test"].spread(2000)
        images = test.load()
        return self.over("embed", images), [self.names[i] for i in test.identities], images

    # ---- serving

    def served(self):
        return [variable for member in self.members for part in
                (member.network, member.head, *member.coarse, *([member.frozen, member.probe_weights, member.probe_bias]
                                                               if self.config.probe else [])) for variable in
                (part.variables if hasattr(part, "variables") else [part])]

    def signatures(self):
        if not self.calibration:
            raise ValueError("the temperature is not fitted yet; evaluate before exporting.")
        temperature, least = (tf.constant(self.calibration[name], tf.float32)
                              for name in ("temperature", "least_confidence"))
        names = tf.constant(self.names)

        def classify(images):
            found = self.answer(images)
            probabilities = tf.nn.softmax(found["logs"] / temperature)
            decision = tf.argmax(probabilities, axis=1, output_type=tf.int32)
            entropy = -tf.reduce_sum(tf.math.xlogy(probabilities, probabilities), axis=1)
            return {"probabilities": probabilities, "classes": tf.repeat(names[None], tf.shape(decision)[0], axis=0),
                    "label": tf.gather(names, decision), "decision": decision,
                    "abstain": tf.reduce_max(probabilities, axis=1) < least,
                    "uncertainty": tf.clip_by_value(entropy / np.log(len(self.names)), 0.0, 1.0),
                    "disagreement": found["disagreement"]}

        def explain(images):
            return {"map": self.explain(images)}

        def embed(images):
            return {"embedding": self.embed(images)}
        found = {"classify": classify, **({"explain": explain} if self.explainer else {}), "embed": embed}
        return {name: {"function": function, "images": 1} for name, function in found.items()}

    def about(self, result):
        return diagnosis_report.about(self, result)


def _mean_logs(parts):
    return mean_of(parts)["logs"].numpy()


def shown_names(names, config):
    return [str(config.class_names.get(name, name)) for name in names]


def positive_of(names, config):
    """The class that figures of two are about; None of more."""
    if len(names) != 2:
        return None
    wanted = config.positive or names[-1]
    shown = shown_names(names, config)
    if wanted not in (*names, *shown):
        raise ValueError(f"`positive` is {wanted!r} but the classes are {', '.join(shown)}; name one of them.")
    return names.index(wanted) if wanted in names else shown.index(wanted)


def answerable(config, names):
    """Which classes can be an answer [K] bool: all, but not the inner labels of a hierarchy."""
    name, words = parse(config.head)
    given = words.get("parents") or {} if name == "hierarchy" and not words.get("stop_inside") else {}
    above = {one for value in given.values() for one in (value if isinstance(value, (tuple, list)) else [value])}
    return np.array([name not in above for name in names])


def _numbered(name, place):
    return name if not place else f"{name}_{place + 1}"


def _require_sound(config):
    """Refuses what cannot be trained or served."""
    for key in ("alpha", "view_share", "abstain", "specificity", "glico_mix"):
        if not 0 <= config[key] <= 1:
            raise ValueError(f"`{key}` is {config[key]} but must lie in [0, 1]; sssnet_100.py has the usual one.")
    for key in ("pair_share", "head_share", "coarse_share", "glico_share"):
        if not 0 <= config[key] < 1:
            raise ValueError(f"`{key}` is {config[key]} but must lie in [0, 1): the classifier needs steps as well.")
    if config.members < 1 or config.tta not in (1, 2, SHIFTED, 2 * SHIFTED):
        raise ValueError(f"`members` is {config.members} and `tta` {config.tta} but there must be a member at least "
                         "and 1, 2, 5 or 10 looks.")
    if config.view_share + config.glico_share > 1:
        raise ValueError(f"`view_share` is {config.view_share} and `glico_share` {config.glico_share} but together "
                         "they must be at most 1: both are shares of all steps.")
    if config.view_share == 1 and not config.probe:
        raise ValueError("`view_share` is 1 but `probe` is False: nothing would learn from the labels; set "
                         "probe=True.")
    if config.probe and not (config.view_share or config.init):
        raise ValueError("`probe` is True but there is no stage of views nor a run to start from: its encoder would "
                         "know nothing; set `view_share`, `init`, or probe=False.")
    if config.view_share + config.glico_share == 1 and config.answer not in ("validation", "probe"):
        raise ValueError(f"`answer` is {config.answer!r} but no step is left for the network to learn from labels; use "
                         "answer=\"probe\", or a smaller `view_share`.")
    if config.answer not in ("validation", *ANSWERS) or config.answer in ("probe", "both") and not config.probe:
        raise ValueError(f"`answer` is {config.answer!r} but must be validation or network, or with probe=True probe "
                         "or both.")
    if config.loss and config.alpha == 0:
        raise ValueError("`alpha` is 0: the classifier would learn nothing; use 0.4, or loss=\"\" for the classifier "
                         "alone.")
    if config.head_share and not config.init:
        raise ValueError(f"`head_share` is {config.head_share} but there is no encoder to keep still; name a run by "
                         "`init`, or set head_share=0.")
    if config.explainer.startswith("cam") and (config.coarse or parse(config.neck)[0] != "last" or (
            config.probe and config.answer != "network")):
        raise ValueError(f"`explainer` is {config.explainer!r} but reads the last map alone, on which a probe, groups "
                         f"or neck {config.neck!r} do not rest; use integrated_gradients(), occlusion(), or \"\".")
    if len(config.coarse) > len(LEVELS):
        raise ValueError(f"`coarse` is {tuple(config.coarse)} but there are {len(LEVELS)} levels; give as many groups "
                         "at most.")
