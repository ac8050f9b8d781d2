"""Which GAN loss finds all of eight clouds around a circle?

Claimed: of each loss, all eight are found, each by 3 % of the points or more that lie within three deviations of its
mean. Nets of dense layers alike for all; with a penalty on the slope (WGAN-GP, or R1 beside another loss) and without.
Source: the test of Metz et al., ICLR 2017, arXiv:1611.02163; that mode dropping is the rule without a penalty is known,
so a loss that fails here says what it needs.
Shrunk: 6,000 steps of 256 points (WGAN, WGAN-GP: 5,000 with three critic steps). Penalties, clip, rates and numbers of
steps were chosen by seeds 100 and 101, the penalty beside least squares by guess; WGAN's optimizer is Adam without
momentum, which did better than the published RMSProp.
"""

from keras_apps.claims.claim import Arm, Claim

SLOW = {"critic_steps": 3, "steps": 5000, "checkpoint_every": 5000}
ADAM = {f"optimizers.{group}": "adam(rate=1e-3, beta_1=0.0, beta_2=0.9)" for group in ("generator", "critic")}
KINDS = {
    "logistic": {"loss": "logistic()"},
    "least_squares": {"loss": "least_squares()"},
    "hinge": {"loss": "hinge()"},
    "wasserstein": {"loss": "wasserstein(clip=0.1)", **SLOW, **ADAM},
    "wasserstein_gp": {"loss": "wasserstein_gp(weight=1.0)", **SLOW},
    "logistic_r1": {"loss": "logistic()", "r1": 0.02},
    "least_squares_r1": {"loss": "least_squares()", "r1": 0.005},
    "hinge_r1": {"loss": "hinge()", "r1": 0.02},
}

CLAIM = Claim(
    sets={"ring": "--source=ring"},
    arms={name: Arm("image_generation/ring", "ring", {**own, "follow_every": 0}) for name, own in KINDS.items()},
    metric="classes_covered",
    also=("precision", "least_class_share"),
    rules=tuple(f"{name} > 7.5" for name in KINDS),
    minutes=14,
)
