"""SSSNet, the lecture's method alone, on 100 labelled chest X-rays: pairs for ten epochs, then classifier and pairs.

    python -m tfrecords.write --npz=pneumoniamnist.npz --out=build/data/pneumonia_mnist
    python -m keras_apps.train --config=keras_apps/configs/small_sample_diagnosis/sssnet_100.py \\
        --data=build/data/pneumonia_mnist --workdir=build/sssnet_100

50 labelled images a class, drawn by the seed (`labels` is a number a class); 60 epochs of 16 pairs: alpha = 0 for the
first ten, 0.4 behind them, a cosine rate. The validation images (524) fit the temperature and the confidence below
which it abstains, nothing else.
"""

from keras_apps.config import base


def get_config():
    config = base()
    config.update({
        "app": "small_sample_diagnosis", "steps": 360, "batch": 32, "checkpoint_every": 360, "size": 28, "labels": 50,
        "classes": ("0", "1"), "class_names": {"0": "normal", "1": "pneumonia"}, "positive": "pneumonia",
        "class_labels": (), "deal": (0, 0.15, 0.25), "ignore_splits": False, "members": 1,
        "backbone": "simple_densenet()", "neck": "last()", "pooling": "average()", "embedding": 128, "dropout": 0.0,
        "norm": "none", "head": "linear()", "classify": "", "maxout": False, "glico_share": 0.0, "glico_mix": 0.5,
        "loss": "contrastive(margin=0.5, distance='euclidean')", "alpha": 0.4, "pair_share": 1 / 6,
        "view_share": 0.0, "view_batch": 128, "views": "simclr()", "views_loss": "nt_xent()", "probe": False,
        "answer": "network", "head_share": 0.0,
        "coarse": (), "coarse_weight": 0.5, "coarse_exponent": 0.3, "coarse_share": 0.3,
        "tta": 1, "abstain": 0.1, "explainer": "cam()", "specificity": 0.9, "schedule": "cosine()",
    })
    config.optimizers.network = "adam(rate=1e-3)"
    config.data.update({
        "train_split": "train", "validation_split": "val", "test_split": "test", "sampler": "pairs()",
        "augment": ("flip()", "affine(rotate=0.1, shift=0.05, keep=0.5)", "jitter(brightness=0.1, contrast=0.1)"),
    })
    return config
