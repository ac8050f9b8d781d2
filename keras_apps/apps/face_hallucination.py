"""Face hallucination: a small face made large, and still the same person."""

import tensorflow as tf

from keras_apps.build import build, parse
from keras_apps.degradation import low_size
from keras_apps.restoration_app import RestorationApp

RECONSTRUCTIONS = "hr_l1", "lr_l1"
COMPARED = "feature", "pixel"
PAIRED = "pairs", "listed_pairs"        # samplers


class FaceHallucinationApp(RestorationApp):
    """SiGAN: a generator, a critic, and pairs of which is known only whether they show the same person.

    Phases of a step, each with a batch of its own and each left out where its weight is 0:
    critic      critic.critic(y, G(x))
    generator   w_a critic.generator(G(x)) + w_r R(G(x), y) + w_p perceptual(G(x), y)
    identity    w_i contrastive(phi(x_1), phi(x_2), same), moved by an optimizer of its own and no part of the critic's
    R: pixel of G(x) and y ("hr_l1"), or of G(x) made small again and x ("lr_l1", as the public code has it). phi: the
    generator's code ("feature"), or the large images themselves ("pixel"). x has noise of deviation `noise`.

    The pairs are those that the sampler lays side by side (`pairs` or `listed_pairs`); labels serve to tell whether the
    two are the same.

    Config:  that of `RestorationApp`; critic, loss (of losses/adversarial), recon, identity (of losses/pair),
             identity_on, noise; weights.adversarial, pixel, identity, perceptual. w_i is alone in its phase, so that an
             optimizer such as Adam, which knows no scale, moves as far for any w_i above 0: how strong the term is, is
             the rate of `optimizers.identity`.
    Terms:   generator: adversarial, pixel, perceptual; identity: identity; critic: critic, penalty; recogniser.
    Raises:  ValueError for weights that train nothing, or a sampler without pairs where there is an identity term.
    """

    keys = (*RestorationApp.keys, "critic", "recon", "identity", "identity_on", "noise")
    needs = ("identity",)
    idle = "recogniser", "critic", "identity"
    terms = "adversarial", "pixel", "perceptual", "identity"
    dictionaries = ("pca", "nmf")

    def __init__(self, config, info):
        super().__init__(config, info)
        self.identity = None
        if config.weights.adversarial:
            self._make_critic(info.shape[:2])
        if config.weights.identity:
            self.identity = build("losses/pair", config.identity)

    def _require_sound(self):
        super()._require_sound()
        config = self.config
        for key, known in (("recon", RECONSTRUCTIONS), ("identity_on", COMPARED)):
            if config[key] not in known:
                raise ValueError(f"`{key}` is {config[key]!r} but must be one of {', '.join(known)}.")
        if config.noise < 0:
            raise ValueError(f"`noise` is {config.noise} but must not be negative.")

    def _require_weights(self):
        super()._require_weights()
        config = self.config
        if config.weights.identity and parse(config.data.sampler)[0] not in PAIRED:
            raise ValueError(f"`data.sampler` is {config.data.sampler!r} but the identity term needs same and "
                             "different pairs side by side; use \"pairs()\", or set weights.identity to 0.")
        if not (config.weights.adversarial or config.weights.pixel or config.weights.perceptual):
            raise ValueError("`weights` has no adversarial, pixel or perceptual term but one of them must make images; "
                             "set weights.pixel above 0.")

    # ---- training

    def stages(self):
        config = self.config
        phases = {**({"critic": 1} if config.weights.adversarial else {}), "generator": 1,
                  **({"identity": 1} if config.weights.identity else {})}
        return (*self.first_stages(), {"name": "images", "steps": config.steps, "phases": phases, "batch": config.batch,
                                       "size": config.size, "anew": True})

    def variables(self, stage, phase):
        if phase == "recogniser":
            return self.recogniser_variables()
        if phase == "critic":
            return {"critic": list(self.critic.trainable_variables)}
        return {phase: list(self.restorer.trainable_variables)}

    def losses(self, phase, batch, seed, step):
        if phase == "recogniser":
            return self.recogniser_losses(batch, seed, step), None
        high, fold = batch["image"], tf.random.experimental.stateless_fold_in
        low = self.lowered(high, self.config.scale, seed)
        noisy = low + self.config.noise * tf.random.stateless_normal(tf.shape(low), fold(seed, 900))
        features = self.restorer.features(noisy, self.config.scale, training=True)
        if phase == "identity":
            on_codes = self.config.identity_on == "feature"
            found = self.restorer.code(features) if on_codes else self._flat(noisy, features)
            labels = batch["label"]
            return {"identity": self.identity(found[::2], found[1::2], labels[::2] == labels[1::2])}, None
        made = self._enlarged(noisy, features)
        if phase == "critic":
            return self.critic_terms(high, made, fold(seed, 901)), None
        if self.config.recon == "hr_l1":
            terms = {"pixel": self.pixel(made, high)}
        else:
            terms = {"pixel": self.pixel(self.degradation.reduce(made, low_size(high.shape[1:3], self.config.scale)),
                                         low)}
        if self.perceptual:
            terms["perceptual"] = self.perceptual(made, high)
        if self.critic is not None:
            terms["adversarial"] = self.fool(made)
        return terms, None

    def _enlarged(self, low, features):
        size = self.info.shape[:2]
        return self.restorer.enlarged(low, features, size, None, training=True)

    def _flat(self, low, features):
        made = self._enlarged(low, features)
        # Of about the length of a code, whatever the size: a margin then means the same.
        return tf.reshape(made, [tf.shape(made)[0], -1]) / float(self.info.shape[0] * self.info.shape[1]) ** 0.5

    def weights(self, phase, step):
        given = self.config.weights
        if phase == "recogniser":
            return self.recogniser_weights()
        if phase == "critic":
            return self.critic_weights()
        if phase == "identity":
            return {"identity": given.identity}
        return {name: given[name] for name in ("adversarial", "pixel", "perceptual") if given[name]}
