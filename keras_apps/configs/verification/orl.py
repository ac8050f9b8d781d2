"""ORL faces: trained on persons 1-20, judged on all pairs of persons 21-40.

    python -m tfrecords.write --images=$SUITE_DATA/orl_faces/orl_faces.zip --pattern='s(?P<identity>\\d+)/\\d+\\.png' \\
        --out=build/data/orl_faces
    python -m keras_apps.train --config=keras_apps/configs/verification/orl.py --data=build/data/orl_faces \\
        --workdir=build/orl

Expected, mean of seeds 0-2 at the last step (each): AUC .973 (.974, .969, .976), EER .063 (.056, .067, .066), TAR at
FAR 1e-2 .823, rank-1 .998. Raw pixels: .914, .150, .517, .985. 1.9 CPU minutes on 2 cores of an AMD EPYC.
Chosen on persons 1-20 alone, ten to train and ten to judge by, both ways round.
"""

from keras_apps.config import base


def get_config():
    config = base()
    config.update({
        "app": "verification", "steps": 1500, "batch": 40, "checkpoint_every": 500, "size": 48,
        "backbone": "small_cnn(widths=(32, 64, 96, 128))", "pooling": "flatten()", "head": "cosface(scale=16.0)",
        "embedding": 128, "dropout": 0.3, "mirror": True, "norm": "batch", "weights": {"head": 1.0, "metric": 1.0},
        "schedule": "cosine(warmup=50)", "ema": 0.995,
    })
    config.optimizers.network = "adam(rate=1e-3, decay=1e-3)"
    config.data.update({
        "train_identities": "1-20", "sampler": "pk(images=4)",
        "augment": ("flip()", "affine(rotate=0.15, scale=0.12, shift=0.06)", "jitter(brightness=0.25, contrast=0.6)",
                    "erase(share=0.5, area=0.15)"),
    })
    return config
