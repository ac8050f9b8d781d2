"""Image generation: images that look as though they were of the data, by a generator and a critic."""

import numpy as np
import tensorflow as tf
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from keras_apps import adversary, charts, splits, turns
from keras_apps.app import BLOCK, App
from keras_apps.build import build
from keras_apps.embedding import EmbeddingNetwork
from keras_apps.losses.adversarial import _penalties
from keras_apps.metrics import generation

FLOOR_COMPONENTS = 64   # principal components of the Gaussian that is the floor
SHEET = 8               # images a side of a sheet
LEAST_SHARE = 0.03      # of the images that a class must have to be covered; of more than 10 classes .3 / classes
MOST_ASKED = 1024       # images of one request to a served generator
LATENT_STREAM = 77      # of the random numbers: a seed's latent is the same in training pictures, pools and servers


class ImageGenerationApp(App):
    """A generator and a critic, trained in turns, and an encoder of our own by which the images are judged.

    Stages: "encoder" first, the judge: it learns the labels of the real images, or where they have none by how many
    quarter turns an image was turned; its weights then stand still. Runs with one seed on the same data have the same
    judge, to the round-off that training amplifies (another number of threads is enough). Then one stage for each size
    the generator grows through, each step with `critic_steps` batches for the critic and one for the generator. A batch
    of real images gives the labels of its fakes where `conditional`.

    Config:  family (the name its images get in the column `source`), latent (z), generator, critic (of
             keras_apps/generators, critics), loss (of losses/adversarial), critic_steps, r1 (weight of half the squared
             slope of the critic at real images; 0 = off), diff_augment (of tfrecords/augment: the critic sees real and
             fake images through them, and the generator learns through them), conditional, encoder_steps (0 = images
             are judged by their pixels), encoder_batch, embedding (of the encoder; backbone and pooling are its), fade
             (share of a stage over which its new layers are faded in), samples (images that are judged).
    Terms:   critic, penalty, r1 in phase critic; generator in phase generator; encoder in phase encoder; only logged:
             real_score, fake_score = the critic's means.
    Info:    classes, names, shape (H, W, C), decoder, splits.
    """

    keys = ("family", "latent", "generator", "critic", "critic_steps", "r1", "diff_augment", "conditional",
            "encoder_steps", "encoder_batch", "embedding", "fade", "samples")
    judged_by = "images"
    floor = "a Gaussian of the pixels"
    captions = {
        "samples": "Images of the seeds 0, 1, 2, ...; none was picked. Of conditional generators a column a class.",
        "interpolations": "Each row goes from one latent to another on the arc between them.",
        "nearest": "Rows of generated images, each above the nearest of the training images that they are judged by, a "
                   "sample of all: a copy of one of those would show here.",
    }

    def __init__(self, config, info):
        super().__init__(config, info)
        _require_sound(config, info)
        self.calibration = {}
        self.conditions = info.classes if config.conditional else 0
        facts = {"size": info.shape[:2], "channels": info.shape[2], "seed": config.seed}
        self.generator = build("generators", config.generator, **{**facts, "latent": config.latent + self.conditions})
        self.critic = build("critics", config.critic, **{**facts, "channels": info.shape[2] + self.conditions})
        self.loss = build("losses/adversarial", config.loss)
        self.augment = [build("tfrecords/augment", text) for text in config.diff_augment]
        self._require_fit()
        self.turned = info.classes < 2
        self.encoder = self.head = None
        if config.encoder_steps:
            self.encoder = EmbeddingNetwork(config.backbone, config.pooling, config.embedding, info.shape)
            self.head = build("heads", "linear()", classes=turns.TURNS if self.turned else info.classes,
                              dimension=self.encoder.dimension, seed=0)
        self._found = {}

    def _require_fit(self):
        """Refuses parts that do not work together, before anything is trained."""
        sizes = getattr(self.critic, "sizes", ())
        if tuple(sizes) != tuple(self.generator.sizes):
            raise ValueError(f"`critic` is {self.config.critic!r}, for images of {_sizes(sizes)}, but the generator "
                             f"{self.config.generator!r} makes images of {_sizes(self.generator.sizes)}; use a pair of "
                             "one name.")
        adversary.require_fit(self.config, self.critic, self.loss)
        for text, method in zip(self.config.diff_augment, self.augment):
            images = tf.random.stateless_uniform([8, *self.info.shape], [0, 0])
            with tf.GradientTape() as tape:
                tape.watch(images)
                changed = method(images, tf.constant([0, 1]), 1.0)
            slope = tape.gradient(changed, images)
            if slope is None or not np.any(slope.numpy()):
                raise ValueError(f"`diff_augment` has {text!r} but no gradient passes through it, so that the "
                                 "generator would learn nothing; leave it out.")

    @staticmethod
    def select(images, config):
        """Every row is trained on but those held out (see `splits.dealt`); the class is the label or identity, if any.

        `labels` keeps that many images a class.
        """
        records = images.records
        train, _, test = splits.dealt(records, config.data)
        column = next((name for name in ("label", "identity") if records.has(name)), None)
        classes = records.column(column) if column else np.zeros(records.count, int)
        names = list(records.names(column)) if column else ["image"]
        if column and config.conditional and (classes[train] < 0).any():
            raise ValueError(f"{int((classes[train] < 0).sum())} images have no {column} but `conditional` is True; "
                             "leave them out, or set conditional=False.")
        if not column or not config.conditional and (classes[train] < 0).any():
            classes, names = np.zeros(records.count, int), ["image"]
        if config.labels:
            train &= splits.first_of_each(classes, train, config.labels, config.seed)
        present = np.unique(classes[train])
        labels = np.full(records.count, -1, np.int32)
        labels[train] = np.searchsorted(present, classes[train])
        found = {name: splits.Split(images, rows, classes[rows], names, True)
                 for name, rows in (("train", np.flatnonzero(train)), ("test", np.flatnonzero(test))) if len(rows)}
        if train.sum() < 2:
            raise ValueError(f"the data in {records.directory} leave fewer than 2 images to train on; check "
                             "`data.train_split` and `data.holdout`.")
        if "test" in found:
            found["test"] = found["test"].spread(config.data.test_images)
        return labels, found, [names[i] for i in present]

    # ---- training

    def stages(self):
        config, sizes = self.config, self.generator.sizes
        found = []
        if config.encoder_steps:
            found.append({"name": "encoder", "steps": config.encoder_steps, "phases": {"encoder": 1},
                          "batch": config.encoder_batch, "size": self.info.shape[:2]})
        left, share = config.steps - config.encoder_steps, len(sizes) + 1       # the last size has two shares
        ends = [*(left * (place + 1) // share for place in range(len(sizes) - 1)), left]
        for size, first, last in zip(sizes, [0, *ends], ends):
            found.append({"name": f"images_{size[0]}", "steps": last - first, "batch": config.batch, "size": size,
                          "phases": {"critic": config.critic_steps, "generator": 1}})
        return tuple(found)

    def variables(self, stage, phase):
        if phase == "encoder":
            return {"encoder": [*self.encoder.trainable_variables, *self.head.trainable_variables]}
        return {phase: list(getattr(self, phase).trainable_variables)}

    def across(self):
        return True     # the images of a batch meet in norms, deviations and the balance of real and fake

    def losses(self, phase, batch, seed, step):
        if phase == "encoder":
            return self._encoder_loss(batch, seed), None
        real, labels = batch["image"], batch["label"]
        stage = self.generator.sizes.index(tuple(real.shape[1:3]))
        fade = self._fade(stage, step)
        seeds = [tf.random.experimental.stateless_fold_in(seed, place) for place in range(4)]
        latents = tf.random.stateless_normal([tf.shape(real)[0], self.config.latent], seeds[0])
        fake = self.generator(self._told(latents, labels), stage, fade, training=True)

        def score(images, seed=None):
            if seed is not None:
                for place, method in enumerate(self.augment):
                    images = method(images, tf.random.experimental.stateless_fold_in(seed, place), 1.0)
            # In training mode in both phases: with moving statistics a critic with batch norm is another function,
            # which the generator would learn to please in vain.
            return self.critic(self._shown(images, labels), stage, fade, training=True)
        if phase == "generator":
            found = score(fake, seeds[1])
            return {"generator": self.loss.generator(found), "fake_score": found}, None
        if stage:
            real = _faded(real, fade)
        terms = adversary.terms(self.loss, score, real, fake, seeds[1:])
        if self.config.r1:
            terms["r1"] = self.config.r1 / 2 * _penalties.slope(score, real)
        return terms, None

    def weights(self, phase, step):
        names = {"encoder": ("encoder",), "generator": ("generator",)}.get(phase, ("critic", *(
            ["penalty"] if self.loss.penalised else []), *(["r1"] if self.config.r1 else [])))
        return dict.fromkeys(names, 1.0)

    def after_step(self, phase, carry):
        if phase == "critic":
            adversary.clip(self.critic.trainable_variables, self.loss.clip)

    def _encoder_loss(self, batch, seed):
        images, labels = batch["image"], batch["label"]
        if self.turned:
            images, labels = turns.drawn(images, seed)
        return {"encoder": self.head.loss(self.encoder(images, training=True), labels, 0)}

    def _fade(self, stage, step):
        """How far the newest layers are faded in at a step: from 0 at the begin of the stage to 1."""
        if not stage or not self.config.fade:
            return tf.constant(1.0)
        stages = self.stages()
        place = stage + len(stages) - len(self.generator.sizes)
        first = sum(one["steps"] for one in stages[:place])
        length = max(1.0, self.config.fade * stages[place]["steps"])
        return tf.clip_by_value(tf.cast(step - first, tf.float32) / length, 0.0, 1.0)

    def _told(self, latents, labels):
        """Latents with the class beside them, where images are of a wanted class."""
        if not self.conditions:
            return latents
        return tf.concat([latents, tf.one_hot(labels, self.conditions)], axis=1)

    def _shown(self, images, labels):
        """Images with a map a class beside their channels: 1 for the own, 0 elsewhere."""
        if not self.conditions:
            return images
        maps = tf.one_hot(labels, self.conditions, dtype=images.dtype)[:, None, None]
        return tf.concat([images, tf.tile(maps, [1, images.shape[1], images.shape[2], 1])], axis=3)

    # ---- images

    def generate(self, seeds, labels=None):
        """Images [n,H,W,C] in [0, 1], each a function of its own seed (int64 [n]) and label (int32 [n]) alone."""
        return tf.clip_by_value(self.generator(self._told(self.latents(seeds), labels), -1, 1.0), 0.0, 1.0)

    def latents(self, seeds):
        """The latents [n,z] of seeds [n]."""
        def latent(seed):
            return tf.random.stateless_normal([self.config.latent], [seed, LATENT_STREAM])
        return tf.map_fn(latent, seeds, fn_output_signature=tf.TensorSpec([self.config.latent], tf.float32))

    def drawn(self, first, count):
        """The images of the seeds `first`, `first` + 1, ..., of all classes in turn, as they are stored: on 8 bits.

        Returns: float32 [count,H,W,C], labels int32 [count].
        """
        function = self.compiled("generate", tf.TensorSpec([None], tf.int64), tf.TensorSpec([None], tf.int32))
        labels = ((first + np.arange(count)) % max(1, self.conditions)).astype(np.int32)
        blocks = [function(tf.range(start, min(start + BLOCK, first + count), dtype=tf.int64),
                           tf.constant(labels[start - first:start - first + BLOCK])).numpy()
                  for start in range(first, first + count, BLOCK)]
        images = np.concatenate(blocks)
        return (np.round(images * 255) / 255).astype(np.float32) if not self.info.decoder.raw else images, labels

    def encode(self, images):
        """(features [n,D], predicted class [n] or None where there is no such judge)."""
        if not self.encoder:
            return images.reshape(len(images), -1), None
        found = self.over("encoder", images)
        return found, None if self.turned else self.head.logits(found).numpy().argmax(axis=1)

    # ---- judging

    def evaluate(self, splits):
        """How near the images come to the training images, with a Gaussian of their pixels as the floor.

        frechet, precision, recall: see metrics/generation.py, in the encoder's features. classes_covered counts the
        classes that `covered_from` of the images or more are taken for: 3 %, of more than 10 classes three tenths of an
        equal share. frechet_real: the same distance of real images never
        trained on, the best that can be wished for.
        """
        count = self.config.samples
        train = splits["train"].spread(count).sound()
        real = train.load()
        fake, _ = self.drawn(0, count)
        if not np.isfinite(fake).all():
            raise ValueError("the generator's images are not finite; use a lower rate, with another --workdir.")
        classes = np.unique(splits["train"].identities)
        truth = np.searchsorted(classes, train.identities)
        features, found = self.encode(real)[0], {}
        found.update(self._judged(features, truth, fake))
        floor = self._judged(features, truth, _gaussian(real, count))
        found.update({f"floor_{name}": value for name, value in floor.items()})
        if "test" in splits and len(splits["test"].rows) > 1:
            test = splits["test"].spread(count)
            held, predicted = self.encode(test.load())
            found["frechet_real"] = generation.frechet(features, held)
            known = np.isin(test.identities, classes)       # an unlabelled image tells nothing of the judge
            if predicted is not None and known.any():
                right = predicted[known] == np.searchsorted(classes, test.identities[known])
                found["encoder_accuracy"] = float(right.mean())
        found.update({"images": count, "real_images": len(real), "encoder_steps": self.config.encoder_steps,
                      **({"covered_from": self._least()} if "classes_covered" in found else {})})
        self._found = {"real": real, "fake": fake, "features": features}
        return found

    def _least(self):
        return min(LEAST_SHARE, 0.3 / self.info.classes)

    def _judged(self, features, truth, images):
        made, predicted = self.encode(images)
        precision, recall = generation.precision_recall(features, made)
        found = {"frechet": generation.frechet(features, made), "precision": precision, "recall": recall}
        if predicted is None and self.info.classes > 1:
            predicted = generation.nearest_mode(features, truth, made)
        if predicted is not None:
            shares = generation.class_shares(predicted, self.info.classes)
            cover = generation.coverage(shares, self._least())
            found.update({"classes_covered": float(cover["classes_covered"]),
                          "least_class_share": cover["least_class_share"]})
        return found

    def follow(self, splits, step):
        if step <= self.config.encoder_steps:
            return {}, {}
        return {}, {"samples": self._sheet()}

    def pictures(self, splits):
        found = {"samples": self._sheet(), "interpolations": self._interpolations(),
                 "nearest": self._nearest()}
        return {name: picture for name, picture in found.items() if picture is not None}

    def _sheet(self):
        """64 images; of conditional generators a column a class."""
        across = min(self.conditions, 16) or SHEET
        images, _ = self.drawn(0, across * SHEET)
        if not self.conditions:
            return charts.mosaic(images, across)
        rows = [image for start in range(SHEET) for image in self._of_classes(start, across)]
        return charts.mosaic(np.stack(rows), across)

    def _of_classes(self, seed, across):
        return self.generate(tf.fill([across], tf.constant(seed, tf.int64)), tf.range(across, dtype=tf.int32)).numpy()

    def _interpolations(self):
        """Rows of images on the arc between two latents, whose length stays that of a latent."""
        ends = self.latents(tf.range(2 * SHEET, dtype=tf.int64)).numpy()
        shares = np.linspace(0, 1, SHEET)
        latents = np.concatenate([_arc(a, b, shares) for a, b in zip(ends[::2], ends[1::2])]).astype(np.float32)
        labels = np.repeat(np.arange(SHEET) % max(1, self.conditions), SHEET).astype(np.int32)
        images = self.generator(self._told(tf.constant(latents), tf.constant(labels)), -1, 1.0)
        return charts.mosaic(np.clip(images.numpy(), 0, 1), SHEET)

    def _nearest(self):
        """Rows of generated images above the training images nearest to them: none must have been learnt by heart."""
        count = min(2 * SHEET, len(self._found["fake"]))
        fake = self._found["fake"][:count]
        made = self.encode(fake)[0]
        near = self._found["real"][cdist(made, self._found["features"]).argmin(axis=1)]
        rows = [one[start:start + SHEET] for start in range(0, count - SHEET + 1, SHEET) for one in (fake, near)]
        return charts.mosaic(np.concatenate(rows), SHEET)

    # ---- serving

    def served(self):
        return list(self.generator.variables)

    def requests(self):
        inputs = {"seed": [0], **({"label": [0]} if self.conditions else {})}
        return {name: inputs for name in self.signatures()}

    def signatures(self):
        inputs = {"seed": tf.TensorSpec([None], tf.int64),
                  **({"label": tf.TensorSpec([None], tf.int32)} if self.conditions else {})}
        decoder = self.info.decoder
        low, high = (tf.constant(side, tf.float32) for side in (decoder.low, decoder.high))

        @tf.autograph.experimental.do_not_convert
        def numbers(seed, label=None):
            return {"image_tensor": self._answered(seed, label) * (high - low) + low}

        @tf.autograph.experimental.do_not_convert
        def encoded(seed, label=None):
            pixels = tf.cast(tf.round(self._answered(seed, label) * 255.0), tf.uint8)
            return {"image_bytes": tf.map_fn(tf.io.encode_png, pixels,
                                             fn_output_signature=tf.TensorSpec([], tf.string))}
        found = {} if decoder.raw else {"generate": {"function": encoded, "inputs": inputs}}
        return {**found, "generate_tensor": {"function": numbers, "inputs": inputs}}

    def _answered(self, seed, label):
        """`generate` for a request, whose size and labels are bounded."""
        checks = [tf.debugging.Assert(tf.size(seed) <= MOST_ASKED, [tf.strings.format(
            f"`seed` has {{}} numbers but at most {MOST_ASKED} images are made together; ask several times",
            (tf.size(seed),))])]
        if self.conditions:
            checks += [
                tf.debugging.assert_equal(tf.size(seed), tf.size(label),
                                          message="`label` must hold as many numbers as `seed`."),
                tf.debugging.Assert(tf.reduce_all((label >= 0) & (label < self.conditions)), [
                    f"`label` must lie in 0 to {self.conditions - 1}, the classes in assets/classes.json"])]
        with tf.control_dependencies(checks):
            return self.generate(tf.identity(seed), label)

    def about(self, result):
        config = self.config
        judge = (f"an encoder of our own, trained on {'turns' if self.turned else 'the labels'} for "
                 f"{config.encoder_steps} steps" if self.encoder else "the pixels themselves")
        return (f"A generator of the family {config.family}: `{config.generator}` against `{config.critic}` with "
                f"`{config.loss}`, judged on {result['images']} of its images by {judge}. Beside it stands a Gaussian "
                "with the training pixels' mean and main components.\n\n"
                "Its images show nobody and nothing real; they are not evidence of anything.")


def _require_sound(config, info):
    """Refuses what cannot be trained."""
    for key in ("latent", "critic_steps", "encoder_batch", "embedding"):
        if config[key] < 1:
            raise ValueError(f"`{key}` is {config[key]} but must be at least 1.")
    if not 0 <= config.encoder_steps < config.steps:
        raise ValueError(f"`encoder_steps` is {config.encoder_steps} but must lie in [0, {config.steps}), below "
                         f"`steps`, which are those of all stages; use --config.encoder_steps={config.steps // 10}.")
    if config.r1 < 0 or not 0 <= config.fade <= 1:
        raise ValueError(f"`r1` is {config.r1} and `fade` {config.fade} but they must be >= 0 and in [0, 1].")
    if config.init:
        raise ValueError(f"`init` is {config.init!r} but a generator begins with no other run's encoder; leave it out.")
    if config.samples < 100:
        raise ValueError(f"`samples` is {config.samples} but judging needs at least 100 images; use 5000.")
    if config.conditional and info.classes < 2:
        raise ValueError("`conditional` is True but the data have no two classes; set conditional=False.")
    if not config.family.isidentifier():
        raise ValueError(f"`family` is {config.family!r} but must be a plain name such as dcgan.")
    if config.family == "real":
        raise ValueError("`family` is 'real' but that is what real images are called; name the generator.")
    if config.evaluate_every:
        raise ValueError(f"`evaluate_every` is {config.evaluate_every} but a generator is not judged on the way, nor a "
                         "best one chosen; set it to 0, and `follow_every` to see images.")


def _sizes(sizes):
    return ", ".join(f"{height} x {width}" for height, width in sizes) or "no known size"


def _faded(images, fade):
    """Images as a growing network sees them: what it cannot draw yet is blurred away."""
    small = tf.nn.avg_pool2d(images, 2, 2, "VALID")
    return tf.repeat(tf.repeat(small, 2, axis=1), 2, axis=2) * (1 - fade) + images * fade


def _gaussian(images, count):
    """The floor: images drawn from a Gaussian with the mean and the main components of the pixels."""
    flat = images.reshape(len(images), -1)
    random = np.random.default_rng(0)
    with threadpool_limits(1):
        model = PCA(min(FLOOR_COMPONENTS, *flat.shape), random_state=0).fit(flat)
    drawn = random.normal(size=(count, model.n_components_)) * np.sqrt(model.explained_variance_)
    return np.clip(model.inverse_transform(drawn), 0, 1).astype(np.float32).reshape(count, *images.shape[1:])


def _arc(first, last, shares):
    """Points on the arc from one vector to another: [s,z]."""
    cosine = first @ last / (np.linalg.norm(first) * np.linalg.norm(last))
    angle = np.arccos(np.clip(cosine, -1, 1))
    shares = shares[:, None]
    if angle < 1e-6:
        return first + shares * (last - first)
    return (np.sin((1 - shares) * angle) * first + np.sin(shares * angle) * last) / np.sin(angle)
