"""Which images of 28 pixels did a generator make? Contrastive pairs, then the classifier; one family held out.

The data: `python -m keras_apps.zoo --data=build/data/fashion_mnist --out=build/zoo/fashion_mnist` trains the generators
and writes them; or, of pools that are there,

    python -m tfrecords.write --out=build/data/fashion_mnist_fakes \\
        --source="fakes(reals='build/data/fashion_mnist', pools='build/zoo/fashion_mnist/pools')"
    python -m keras_apps.train --config=keras_apps/configs/fake_image_detection/contrastive.py \\
        --config.held_out=wgan --data=build/data/fashion_mnist_fakes --workdir=build/fakes/wgan

Chosen by AUC on validation images of the trained generators, seed 0. The net (DCGAN and LSGAN, none held out, 800 steps
of cross-entropy, rate 3e-3): a stem at full resolution and a last level of 1x1 convolutions .969, a 7x7 stem of step 2
and levels of 3x3 .928. Without the last mean, means=(2, 1), the map has 14 x 14 places instead of 7 x 7, and AUC is
.997 instead of .993 after 2,500 steps, for a quarter more of the time (wgan held out). The pairs: codes at length one
with a margin of 1 left the plateau, where all pairs lie half a margin apart, after about 800 steps; as published
(length as it is, margin 0.5; with the older net) they stood on it after 1,500 still. So a third of the steps are pairs.

Measured, mean of seeds 0-2 and five families, each held out: AUC .987 held out, .996 seen, F .918 and .973; of DCGAN
.972, LSGAN .997, WGAN .998, WGAN-GP .999, PGGAN .970 (each seed: docs/claims.md, fake_image_detection/holdout_*).
1.7 CPU minutes on an AMD EPYC.
"""

from keras_apps.config import base


def get_config():
    config = base()
    config.update({
        "app": "fake_image_detection", "steps": 3000, "batch": 64, "checkpoint_every": 3000, "size": 28,
        "backbone": "deepfd_res(widths=(16, 24, 48), blocks=(1, 1, 1), kernel=(3, 3, 1), stem=3, stem_stride=1)",
        "neck": "last()", "pooling": "average()", "code": 128, "domain": "pixels", "head": "",
        "loss": "contrastive(margin=1.0, distance='euclidean')", "pair_share": 0.33, "freeze": False,
        "held_out": "", "false_alarms": 0.01,
        "robustness": ("jpeg(share=1.0, quality=(75, 75))", "blur(share=1.0, sigma=(0.7, 0.7))",
                       "degrade(factor=(1.5, 1.5), blur=(0.0, 0.0), noise=(0.0, 0.0), share=1.0)"),
        "schedule": "cosine(warmup=50)", "ema": 0.98, "follow_every": 250,
    })
    config.optimizers.network = "adam(rate=1e-3)"
    config.data.update({
        "train_split": "train", "validation_split": "val", "test_split": "test",
        "sampler": "leave_one_source_out(by_label=True)",
        "augment": ("flip()", "jitter(brightness=0.05, contrast=0.05, saturation=0.05)"),
    })
    return config
