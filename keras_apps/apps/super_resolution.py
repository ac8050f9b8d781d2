"""Super-resolution: a network that makes a large image of a small one, and knows how much is missing."""

import numpy as np
import tensorflow as tf

from keras_apps import charts
from keras_apps.build import build
from keras_apps.enlarging import bicubic, doublings
from keras_apps.metrics import ranking, restoration
from keras_apps.restoration_app import TOGETHER, RestorationApp, enlarged, near, nearest

PIXEL, GAN = "pixel", "adversarial"
FUSIONS = 0, 25, 50, 75, 100        # percent of the weights of before the critic joined


class SuperResolutionApp(RestorationApp):
    """One restorer for several scales, which is told the scale; by pixels first, then against a critic.

    Each step restores the batch at every scale of `scales`. With `aware` the scale modulates the maps; `contrastive`
    (of losses/metric) brings codes of one image at two scales together, those of two images apart; `guess` is the
    cross-entropy of a head that tells the scale from the map. In the last `gan_share` of the steps a critic joins; the
    weights of before are kept, and what is judged and served is fusion x before + (1 - fusion) x after. The whole is
    our reading of a lecture that gives a title alone, "resolution-aware super-resolution".

    Config:  that of `RestorationApp`; scales (trained), judged (scales whose figures stand beside, <figure>_x<scale>;
             psnr and ssim are the means over them), aware, patch (pixels of the squares that are cut from the images
             for training, 0 = whole images), contrastive, critic, loss (of losses/adversarial), gan_share, fusion,
             measure_perceptual (figures for several fusions, by the distance of the maps of an encoder), weights.*
             of the terms.
    Terms:   pixel, ssim, contrastive, guess, perceptual in phase pixel and, with adversarial, in phase generator;
             critic, penalty in phase critic; recogniser, encoder in phase recogniser.
    """

    keys = (*RestorationApp.keys, "scales", "judged", "aware", "patch", "contrastive", "critic", "gan_share", "fusion",
            "measure_perceptual")
    captions = {**RestorationApp.captions,
                "fusion": "How near (PSNR) and how natural (distance of an encoder's maps, less is better) images are "
                          "for shares of the weights before and after the critic joined."}

    def __init__(self, config, info):
        super().__init__(config, info)
        self.structure = build("losses/pixel", "ssim()")
        self.contrastive = (build("losses/metric", config.contrastive, classes=info.classes, dimension=0,
                                  seed=config.seed) if config.contrastive else None)
        self.guess = tf.keras.layers.Dense(len(self.scales)) if config.weights.guess else None
        if self.guess:
            self.guess.build([None, self._code(tf.zeros([1, 8, 8, info.shape[2]])).shape[1]])
        self.before = self.fused = None
        if config.gan_share:
            self._make_critic((config.patch,) * 2 if config.patch else info.shape[:2])
            self.before, self.fused = self._restorer(), self._restorer()

    def _scales(self):
        return self.config.scales

    def _code(self, images):
        return self.restorer.code(self.restorer.features(images, self.scales[-1]))

    def _require_sound(self):
        super()._require_sound()
        config = self.config
        if config.scale not in config.judged:
            raise ValueError(f"`judged` is {tuple(config.judged)} but must hold `scale`, {config.scale}.")
        if not 0 <= config.gan_share < 1 or not 0 <= config.fusion <= 1:
            raise ValueError(f"`gan_share` is {config.gan_share} and `fusion` {config.fusion} but they must lie in "
                             "[0, 1) and [0, 1].")
        if config.patch and (config.patch > min(self.info.shape[:2]) or config.patch < 8 * max(config.scales)):
            raise ValueError(f"`patch` is {config.patch} but must be at most the images' {min(self.info.shape[:2])} "
                             f"pixels and at least {8 * max(config.scales)}, eight small pixels; change it or `size`.")

    # ---- training

    def stages(self):
        config = self.config
        last = round(config.steps * config.gan_share)
        found = [*self.first_stages(), self._stage(PIXEL, config.steps - last, {"pixel": 1})]
        if last:
            found.append(self._stage(GAN, last, {"critic": 1, "generator": 1}))
        return tuple(found)

    def _stage(self, name, steps, phases):
        return {"name": name, "steps": steps, "phases": phases, "batch": self.config.batch, "size": self.config.size}

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
        made, codes = self._made(high, seed, True)
        images = tf.concat(made, axis=0)
        targets = tf.tile(high, [len(self.scales), 1, 1, 1])
        terms = {"pixel": self.pixel(images, targets)}
        if self.config.weights.ssim:
            terms["ssim"] = self.structure(images, targets)
        if self.perceptual:
            terms["perceptual"] = self.perceptual(images, targets)
        if self.contrastive:
            labels = tf.tile(tf.cast(batch["index"], tf.int32), [len(self.scales)])
            terms["contrastive"] = self.contrastive(tf.concat(codes, axis=0), labels)
        if self.guess:
            places = tf.repeat(tf.range(len(self.scales)), tf.shape(high)[0])
            logits = self.guess(tf.concat(codes, axis=0))
            terms["guess"] = tf.nn.sparse_softmax_cross_entropy_with_logits(places, logits)
        if phase == "generator":
            terms["adversarial"] = self.fool(images)
        return terms, None

    def _patches(self, images, seed):
        side = self.config.patch
        if not side:
            return images
        return tf.image.stateless_random_crop(images, [images.shape[0], side, side, images.shape[3]], seed)

    def _made(self, high, seed, training):
        """([restored], [code]), a scale each."""
        made, codes = [], []
        for place, scale in enumerate(self.scales):
            low = self.lowered(high, scale, tf.random.experimental.stateless_fold_in(seed, 1000 + place))
            features = self.restorer.features(low, scale, training=training)
            made.append(self.restorer.enlarged(low, features, high.shape[1:3], doublings(scale), training=training))
            codes.append(self.restorer.code(features))
        return made, codes

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
            _assign(self.before, self.restorer)
        return {}

    # ---- fusion

    def final(self):
        if self.fused is None:
            return self.restorer
        self._fuse(self.config.fusion)
        return self.fused

    def _fuse(self, share):
        for fused, before, after in zip(self.fused.variables, self.before.variables, self.restorer.variables):
            fused.assign(share * before + (1.0 - share) * after)

    # ---- judging

    def evaluate(self, splits):
        """Also at every scale of `judged`; psnr and ssim, with their floors, are the means over them.

        cross_rank1: the share of test images whose code at the largest trained scale is nearest to their own code at
        the smallest, among those of all test images.
        """
        found = super().evaluate(splits)
        if "train" not in splits:
            return found
        high = splits["test"].load()
        size, figures = self.info.shape[:2], {}
        for scale in self.config.judged:
            low = self.lowered(high, scale).numpy()
            rows = {"": restoration.eight_bits(self.restored(low, size, scale)), "floor_": enlarged(bicubic, low, size),
                    "nearest_": enlarged(nearest, low, size)}
            for row, images in rows.items():
                for key, value in near(images, high).items():
                    figures.setdefault(f"{row}{key}", []).append(value)
                    if row != "nearest_":
                        found[f"{row}{key}_x{scale:g}"] = value
        found.update({name: float(np.mean(values)) for name, values in figures.items()})
        if len(self.scales) > 1:
            found["cross_rank1"] = self._crossed(high)
        if self.guess:
            found["guessed_scale"] = self._guessed(high)
        if self.fused is not None and self.encoder is not None:
            found.update(self._curve(high))
        return found

    def _codes(self, high, scale):
        low = self.lowered(high, scale).numpy()
        block = max(1, TOGETHER // (high.shape[1] * high.shape[2]))

        @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, *low.shape[1:]], tf.float32)])
        def code(images):
            return self.restorer.code(self.restorer.features(images, scale))
        return np.concatenate([code(low[start:start + block]).numpy() for start in range(0, len(low), block)])

    def _crossed(self, high):
        own = np.arange(len(high))
        found = ranking.ranking(self._codes(high, self.scales[-1]), self._codes(high, self.scales[0]), own, own)
        return found["rank1"]

    def _guessed(self, high):
        right = [self.guess(self._codes(high, scale)).numpy().argmax(axis=1) == place
                 for place, scale in enumerate(self.scales)]
        return float(np.mean(right))

    def _curve(self, high):
        """psnr_fused_<percent before>, distance_fused_<...>: the fusion's way from one network to the other."""
        low, found = self.lowered(high, self.config.scale).numpy(), {}
        measure = build("losses/pixel", self.config.perceptual, encoder=self.encoder.maps)
        for percent in FUSIONS:
            self._fuse(percent / 100)
            made = restoration.eight_bits(self.restored(low, self.info.shape[:2], self.config.scale, self.fused))
            found[f"psnr_fused_{percent}"] = restoration.psnr(made, high)
            found[f"distance_fused_{percent}"] = float(np.mean(measure(made, high)))
        self._fuse(self.config.fusion)
        return found

    def pictures(self, splits):
        shown = super().pictures(splits)
        figures = self._found["figures"]
        if "psnr_fused_0" in figures:
            shown["fusion"] = charts.path([figures[f"distance_fused_{percent}"] for percent in FUSIONS],
                                          [figures[f"psnr_fused_{percent}"] for percent in FUSIONS],
                                          [f"{percent} %" for percent in FUSIONS], "distance of an encoder's maps",
                                          "PSNR, dB", "Share of the weights of before the critic")
        return shown


def _assign(to, of):
    for mine, other in zip(to.variables, of.variables):
        mine.assign(other)
