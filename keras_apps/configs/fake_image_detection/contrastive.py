"""Which images of 28 pixels did a generator make? Contrastive pairs, then the classifier; one family held out.

The data: `python -m keras_apps.zoo --data=build/data/fashion_mnist --out=build/zoo/fashion_mnist` trains the generators
and writes them; or, of pools that are there,

    python -m tfrecords.write --out=build/data/fashion_mnist_fakes \\
        --source="fakes(reals='build/data/fashion_mnist', pools='build/zoo/fashion_mnist/pools')"
    python -m keras_apps.train --config=keras_apps/configs/fake_image_detection/contrastive.py \\
        --config.held_out=wgan --data=build/data/fashion_mnist_fakes --workdir=build/fakes/wgan

Chosen on validation images of the trained generators, none held out: rate and schedule by cross_entropy.py with wider
layers (AUC after 600 steps: .909 with adam(rate=1e-3) cut to a tenth after the pairs, as published, .900 with three
times that rate, .919 as below); width by cost alone; the share of the pairs by AUC after 1,500 steps: contrastive .941
with .13, .828 with .4; triplets .931 and .858. Cross-entropy alone reaches .976 there: so few steps teach pairs little.
"""

from keras_apps.config import base


def get_config():
    config = base()
    config.update({
        "app": "fake_image_detection", "steps": 1500, "batch": 64, "checkpoint_every": 1500, "size": 28,
        "backbone": "deepfd_res(widths=(16, 24, 48), blocks=(1, 2, 1), stem=7, stem_stride=2)", "neck": "last()",
        "pooling": "average()", "code": 128, "domain": "pixels", "head": "",
        "loss": "contrastive(margin=0.5, distance='euclidean', normalise=False)", "pair_share": 0.13, "freeze": False,
        "held_out": "", "false_alarms": 0.01,
        "robustness": ("jpeg(share=1.0, quality=(75, 75))", "blur(share=1.0, sigma=(0.7, 0.7))",
                       "degrade(factor=(1.5, 1.5), blur=(0.0, 0.0), noise=(0.0, 0.0), share=1.0)"),
        "schedule": "cosine(warmup=50)", "ema": 0.98, "follow_every": 125,
    })
    config.optimizers.network = "adam(rate=3e-3)"
    config.data.update({
        "train_split": "train", "validation_split": "val", "test_split": "test",
        "sampler": "leave_one_source_out(by_label=True)",
        "augment": ("flip()", "jitter(brightness=0.05, contrast=0.05, saturation=0.05)"),
    })
    return config
