"""Super-resolution: a network that makes a large image of a small one, and knows how much is missing."""

import numpy as np
import tensorflow as tf

from keras_apps import charts
from keras_apps.build import build
from keras_apps.enlarging import bicubic, doublings
from keras_apps.figures import Grid
from keras_apps.metrics import ranking, restoration
from keras_apps.restoration_app import RestorationApp, enlarged, in_blocks, near, nearest, sheet

PIXEL, GAN = "pixel", "adversarial"
MEASURED = [f"{row}{key}" for row in ("", "floor_", "nearest_") for key in ("psnr", "ssim")]
FUSIONS = 0, 25, 50, 75, 100        # percent of the weights of before the critic joined


class SuperResolutionApp(RestorationApp):
    """One restorer for several scales, which is told the scale; by pixels first, then against a critic.

    Each step restores the batch at every scale of `scales`. With `aware` the scale modulates the maps; `contrastive`
    (of losses/metric) brings codes of one image at two scales together, those of two images apart; `guess` is the
    cross-entropy of a head that tells the scale from the mean of the maps. In the last `gan_share` of the steps a
    critic joins; the weights of before are kept, and what is judged and served is
    fusion x before + (1 - fusion) x after. The whole is our reading of a lecture that gives a title alone,
    "resolution-aware super-resolution".

    Config:  that of `RestorationApp`; scales (trained; () = `scale` alone), judged (scales whose figures stand beside,
             <figure>_x<scale>; psnr and ssim are the means over them; () = `scale` alone), aware, patch (pixels of the
             squares that are cut from the images for training, 0 = whole images), contrastive, critic, loss (of
             losses/adversarial), gan_share, fusion, weights.* of the terms.
    Terms:   pixel, ssim, contrastive, guess in phase pixel; those, adversarial and perceptual in phase generator;
             critic, penalty in phase critic; recogniser, encoder in phase recogniser.
    State:   joined: 1 once the critic has joined; before, the restorer itself is judged and served.
    """

    idle = "recogniser", "critic"
    keys = (*RestorationApp.keys, "scales", "judged", "aware", "patch", "contrastive", "critic", "gan_share", "fusion")
    terms = "pixel", "ssim", "contrastive", "guess", "adversarial", "perceptual"
    captions = {**RestorationApp.captions,
                "scales": "One held-out image, the first, at every scale that is judged.",
                "fusion": "How near (PSNR) and how natural (distance of the recogniser's maps, less is better; it took "
                          "no part in the training) images are for shares of the weights before and after the critic "
                          "joined."}

    def __init__(self, config, info):
        super().__init__(config, info)
        self.structure, self._curve, self._scaled = build("losses/pixel", "ssim()"), {}, {}
        self.contrastive = (build("losses/metric", config.contrastive, classes=info.classes, dimension=0,
                                  seed=config.seed) if config.contrastive else None)
        self.guess = tf.keras.layers.Dense(len(self.scales)) if config.weights.guess else None
        if self.guess:
            features = self.restorer.features(tf.zeros([1, 8, 8, info.shape[2]]), self.scales[-1])
            self.guess.build([None, features.shape[3]])
        self.before = self.fused = self.joined = None
        if config.gan_share:
            self._make_critic((config.patch,) * 2 if config.patch else info.shape[:2])
            self.before, self.fused = self._restorer(), self._restorer()
            self.joined = tf.Variable(0, trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)

    def _scales(self):
        return self.config.scales or (self.config.scale,)

    def _judged(self):
        return self.config.judged or (self.config.scale,)

    def _require_sound(self):
        super()._require_sound()
        config = self.config
        if config.scale not in self._judged():
            raise ValueError(f"`judged` is {tuple(config.judged)} but must hold `scale`, {config.scale}.")
        if not 0 <= config.gan_share < 1 or not 0 <= config.fusion <= 1:
            raise ValueError(f"`gan_share` is {config.gan_share} and `fusion` {config.fusion} but they must lie in "
                             "[0, 1) and [0, 1].")
        least = round(8 * max(self._scales()))
        if config.patch and not least <= config.patch <= min(self.info.shape[:2]):
            raise ValueError(f"`patch` is {config.patch} but must be at most the images' {min(self.info.shape[:2])} "
                             f"pixels and at least {least}, eight small pixels; change it or `size`.")

    def _require_weights(self):
        super()._require_weights()
        config, given = self.config, self.config.weights
        if bool(config.contrastive) != bool(given.contrastive):
            raise ValueError(f"`contrastive` is {config.contrastive!r} and `weights.contrastive` {given.contrastive} "
                             "but it takes both, or neither.")
        for name in ("adversarial", "perceptual"):
            if given[name] and not config.gan_share:
                raise ValueError(f"`weights.{name}` is {given[name]} but `gan_share` is 0, without which it never "
                                 "counts; use gan_share=0.4, or set the weight to 0.")
        if not given.pixel and not given.ssim:
            raise ValueError("`weights` has neither pixel nor ssim above 0 but the first stage learns by them; set "
                             "weights.pixel=1.0.")

    # ---- training

    def stages(self):
        config = self.config
        last = round(config.steps * config.gan_share)
        found = [*self.first_stages(), self._stage(PIXEL, config.steps - last, {"pixel": 1})]
        if last:
            found.append(self._stage(GAN, last, {"critic": 1, "generator": 1}))
        return tuple(found)

    def _stage(self, name, steps, phases):
        return {"name": name, "steps": steps, "phases": phases, "batch": self.config.batch, "size": self.config.size,
                "anew": True}

    def variables(self, stage, phase):
        if phase == "recogniser":
            return self.recogniser_variables()
        if phase == "critic":
            return {"critic": list(self.critic.trainable_variables)}
        return {"restorer": [*self.restorer.trainable_variables,
                             *(self.guess.trainable_variables if self.guess else ())]}

    def across(self):
        return bool(self.contrastive) or bool(self.config.gan_share) or self.recogniser is not None

    def losses(self, phase, batch, seed, step):
        if phase == "recogniser":
            return self.recogniser_losses(batch, seed, step), None
        fold = tf.random.experimental.stateless_fold_in
        high = self._patches(batch["image"], fold(seed, 900))
        if phase == "critic":
            made = tf.concat(self._made(high, seed, False)[0], axis=0)
            return self.critic_terms(tf.tile(high, [len(self.scales), 1, 1, 1]), made, fold(seed, 901)), None
        made, features = self._made(high, seed, True)
        images = tf.concat(made, axis=0)
        targets = tf.tile(high, [len(self.scales), 1, 1, 1])
        terms = {"pixel": self.pixel(images, targets)}
        if self.config.weights.ssim:
            terms["ssim"] = self.structure(images, targets)
        if self.contrastive:
            labels = tf.tile(tf.cast(batch["index"], tf.int32), [len(self.scales)])
            codes = [self.restorer.code(maps) for maps in features]
            terms["contrastive"] = self.contrastive(tf.concat(codes, axis=0), labels)
        if self.guess:
            places = tf.repeat(tf.range(len(self.scales)), tf.shape(high)[0])
            logits = self.guess(tf.concat([_mean(maps) for maps in features], axis=0))
            terms["guess"] = tf.nn.sparse_softmax_cross_entropy_with_logits(places, tf.cast(logits, tf.float32))
        if phase == "generator":
            terms["adversarial"] = self.fool(images)
            if self.perceptual:
                terms["perceptual"] = self.perceptual(images, targets)
        return terms, None

    def _patches(self, images, seed):
        """From each image a square at a place of its own."""
        side, (count, height, width) = self.config.patch, images.shape[:3]
        if not side:
            return images
        draws = tf.random.stateless_uniform([2, count, 1], seed)
        top, left = (tf.cast(draw * (length - side + 1), tf.int32)
                     for draw, length in zip(tf.unstack(draws), (height, width)))
        images = tf.gather(images, top + tf.range(side), axis=1, batch_dims=1)
        return tf.gather(images, left[:, None] + tf.range(side)[None, None] * tf.ones([1, side, 1], tf.int32), axis=2,
                         batch_dims=2)

    def _made(self, high, seed, training):
        """([restored], [maps]), a scale each."""
        made, maps = [], []
        for place, scale in enumerate(self.scales):
            low = self.lowered(high, scale, tf.random.experimental.stateless_fold_in(seed, 1000 + place))
            features = self.restorer.features(low, scale, training=training)
            made.append(self.restorer.enlarged(low, features, high.shape[1:3], doublings(scale), training=training))
            maps.append(features)
        return made, maps

    def weights(self, phase, step):
        given = self.config.weights
        if phase == "recogniser":
            return self.recogniser_weights()
        if phase == "critic":
            return self.critic_weights()
        names = [name for name, part in (("pixel", True), ("ssim", given.ssim), ("contrastive", self.contrastive),
                                         ("guess", self.guess)) if part]
        if phase == "generator":
            names += ["adversarial", *(["perceptual"] if self.perceptual else [])]
        return {name: given[name] for name in names}

    def between(self, stage, round, data):
        if stage == GAN:        # with the averages in place
            for mine, other in zip(self.before.variables, self.restorer.variables):
                mine.assign(other)
            self.joined.assign(1)
        return {}

    # ---- fusion

    def final(self):
        if self.joined is None or not self.joined.numpy():
            return self.restorer
        self._fuse(self.config.fusion)
        return self.fused

    def _fuse(self, share):
        for fused, before, after in zip(self.fused.variables, self.before.variables, self.restorer.variables):
            fused.assign(share * before + (1.0 - share) * after)

    # ---- judging

    def evaluate(self, splits):
        """Also at every scale of `judged`; psnr and ssim, with their floors, are the means over them.

        cross_rank1: the share of test images whose code at the largest trained scale is nearest to their own at the
        smallest, among those of all test images; without a contrastive term, which trains the codes, by the means of
        the maps. cross_rank1_maps: by those in any case.
        """
        found = super().evaluate(splits)
        if "train" not in splits:
            return found
        high, size, figures = splits["test"].load(), self.info.shape[:2], {}
        self._scaled = {}
        for scale in self._judged():
            if scale == self.config.scale:
                parts = [self._found[name] for name in ("low", "floor", "made")]
                measured = {name: found[name] for name in MEASURED}
            else:
                low = self.lowered(high, scale).numpy()
                parts = [low, enlarged(bicubic, low, size), restoration.eight_bits(self.restored(low, size, scale))]
                rows = {"": parts[2], "floor_": parts[1], "nearest_": enlarged(nearest, low, size)}
                measured = {f"{row}{key}": value for row, images in rows.items()
                            for key, value in near(images, high).items()}
            for name, value in measured.items():
                figures.setdefault(name, []).append(value)
                if not name.startswith("nearest_"):
                    found[f"{name}_x{scale:g}"] = value
            self._scaled[scale] = [part[:1] for part in parts]
        found.update({name: float(np.mean(values)) for name, values in figures.items()})
        if len(self.scales) > 1:
            found["cross_rank1_maps"] = self._crossed(high, _mean)
            found["cross_rank1"] = self._crossed(high, self.restorer.code) if self.contrastive else (
                found["cross_rank1_maps"])
        if self.guess:
            found["guessed_scale"] = float(np.mean([
                self.guess(self._of_maps(high, scale, _mean)).numpy().argmax(axis=1) == place
                for place, scale in enumerate(self.scales)]))
        if self.final() is not self.restorer and self.recogniser is not None:
            self._curve = self._fusions(high)
            found.update(self._curve)
        return found

    def _of_maps(self, high, scale, make):
        """`make` of the maps of images at a scale: [n,K]."""
        low = self.lowered(high, scale).numpy()

        @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, *low.shape[1:]], tf.float32)])
        def of(images):
            return make(self.restorer.features(images, scale))
        return in_blocks(of, high.shape[1:3], low)

    def _crossed(self, high, make):
        own = np.arange(len(high))
        far, near = (self._of_maps(high, scale, make) for scale in (self.scales[-1], self.scales[0]))
        return ranking.ranking(far, near, own, own)["rank1"]

    def _fusions(self, high):
        """psnr_fused_<percent before>, distance_fused_<...>: the fusion's way from one network to the other.

        By the maps of the recogniser, of which no loss has known.
        """
        low, found = self.lowered(high, self.config.scale).numpy(), {}
        measure = build("losses/pixel", self.config.perceptual, encoder=self.recogniser.maps)
        for percent in FUSIONS:
            self._fuse(percent / 100)
            made = restoration.eight_bits(self.restored(low, self.info.shape[:2], self.config.scale, self.fused))
            found[f"psnr_fused_{percent}"] = restoration.psnr(made, high)
            found[f"distance_fused_{percent}"] = float(np.mean(in_blocks(measure, high.shape[1:3], made, high)))
        self._fuse(self.config.fusion)
        return found

    def grids(self, result):
        found = super().grids(result)
        scales = self._judged()
        if len(scales) > 1:
            found.insert(0, Grid(
                "Scales", f"Trained on {', '.join(f'{scale:g}' for scale in self.scales)}; the network is "
                f"{'told' if self.config.aware else 'not told'} the scale.",
                {f"x {scale:g}": f"{{}}_x{scale:g}" for scale in scales},
                {"PSNR, dB": "psnr", "of bicubic": "floor_psnr", "SSIM": "ssim", "SSIM of bicubic": "floor_ssim"}))
        if len(self.scales) > 1:
            found.append(Grid(
                "One image at two scales", f"Share of the held-out images whose maps inside the network, at the scale "
                f"{max(self.scales):g}, are nearest to their own at the scale {min(self.scales):g}. It tells how alike "
                "the network takes them to be, not how good the images are.",
                {"mean of the maps": "{}_maps",
                 "code" if self.contrastive else "code (none is trained: the maps)": "{}"},
                {"rank-1": "cross_rank1"}))
        return found

    def pictures(self, splits):
        shown = super().pictures(splits)
        if len(self._scaled) > 1:
            size, high = self.info.shape[:2], self._found["high"][:1]
            columns = [(enlarged(nearest, low, size), floor, made, high) for low, floor, made in self._scaled.values()]
            titles = [f"x {scale:g}" for scale in self._scaled]
            shown["scales"] = sheet(*map(np.concatenate, zip(*columns)), titles=titles, most=len(titles))
        figures = self._curve
        if figures:
            shown["fusion"] = charts.path([figures[f"distance_fused_{percent}"] for percent in FUSIONS],
                                          [figures[f"psnr_fused_{percent}"] for percent in FUSIONS],
                                          [f"{percent} %" for percent in FUSIONS], "distance of the recogniser's maps",
                                          "PSNR, dB", "Share of the weights of before the critic")
        return shown


def _mean(maps):
    """[b,h,w,d] -> [b,d], the mean over the places."""
    return tf.reduce_mean(tf.cast(maps, tf.float32), axis=(1, 2))
