"""SiGAN with residual blocks on ORL, 8 x 8 to 32 x 32: persons 1-30 train it and the recogniser, 31-40 are judged.

    python -m tfrecords.write --images=$SUITE_DATA/orl_faces/orl_faces.zip --pattern='s(?P<identity>\\d+)/\\d+\\.png' \\
        --out=build/data/orl_faces
    python -m keras_apps.train --config=keras_apps/configs/face_hallucination/sigan_resnet.py \\
        --data=build/data/orl_faces --workdir=build/sigan_resnet

From the public code (see sigan_resnet_casia_64.py) differ: 32 and 24 channels, a code of 32 numbers, rates of 1e-3, and
a generator that adds to the bicubic image, since 500 steps are few.

Measured over three splits of persons, at the last step: top-1 among 40 .596 (.556, .733, .500), of the lost images
.830, bicubic .463; the same without the identity term .563. PSNR 24.39. 4.8 CPU minutes on an AMD EPYC.
"""

from ml_collections import ConfigDict, FieldReference

from keras_apps.config import base


def get_config():
    config = base()
    config.update({
        "app": "face_hallucination", "steps": 500, "batch": 32, "checkpoint_every": 500, "size": 32, "scale": 4,
        "restorer": "sigan(widths=(32, 24), counts=(2, 3), blocks='residual', tail=24, code=32, on_bicubic=True)",
        "critic": "sigan(widths=(16, 24, 32))", "loss": "logistic()", "recon": "hr_l1", "pixel": "l1()",
        "identity": "contrastive(margin=0.5, distance='euclidean', normalise=False)", "identity_on": "feature",
        "noise": 0.03, "reduction": "area", "before": (), "after": (), "ensemble": 1,
        "perceptual": "perceptual()",
        "weights": ConfigDict({"pixel": 0.9, "adversarial": 0.1, "identity": 1.0, "perceptual": 0.0}),
        "query_camera": "", "recogniser": "", "recogniser_size": FieldReference(32, field_type=object),
        "recogniser_steps": 600, "recogniser_batch": 40,
        "recogniser_augment": ("jitter(brightness=0.25, contrast=0.6)", "erase(share=0.5, area=0.15)"),
        "backbone": "small_cnn(widths=(32, 64, 96, 128))", "pooling": "flatten()", "head": "cosface(scale=16.0)",
        "embedding": 128, "dropout": 0.3, "mirror": True, "schedule": "cosine(warmup=50)", "ema": 0.99,
    })
    config.optimizers = ConfigDict({
        "generator": "adam(rate=1e-3, beta_1=0.5)", "critic": "adam(rate=5e-4, beta_1=0.5)",
        "identity": "adam(rate=2e-4, beta_1=0.5)", "recogniser": "adam(rate=1e-3, decay=1e-3)"})
    config.data.update({
        "train_identities": "1-30", "sampler": "pairs()",
        "augment": ("flip()", "affine(rotate=0.1, scale=0.1, shift=0.05, keep=0.3)"),
    })
    return config
