"""SiGAN at its published size, 16 x 16 to 64 x 64: 491,131 images of 10,575 persons. Never run here.

    python -m tfrecords.write --images=casia_webface --pattern='(?P<identity>\\d+)/\\d+\\.jpg' --shards=128 \\
        --out=build/data/casia_webface
    python -m keras_apps.train --config=keras_apps/configs/face_hallucination/sigan_resnet_casia_64.py \\
        --data=build/data/casia_webface --workdir=build/sigan_resnet_casia_64 --strategy=mirrored

Widths, blocks, rates, batch, noise and light as in the public code; there the stop is by the clock, here after 60,000
batches, eight times all images, behind the 40,000 of the recogniser. `--config.size=32` is the other half, 8 x 8
to 32 x 32. The recogniser is a network of ours, trained on the same persons, instead of FaceNet; for another name a run
of `verification` by --config.recogniser. Where the published list of 3,283 test images is at hand, write it as a split
and name it by `data.test_split`; here one person in a hundred is held back.
"""

from keras_apps.configs.face_hallucination.sigan_resnet import get_config as sigan_resnet

RECOGNISER, STEPS, HALVED = 40_000, 60_000, 5000


def get_config():
    config = sigan_resnet()
    config.update({
        "size": 64, "steps": STEPS, "batch": 64, "checkpoint_every": 5000, "follow_every": 5000, "ema": 0.999,
        "restorer": "sigan(widths=(416, 240), counts=(2, 3), blocks='residual', tail=256, code=128)",
        "critic": "sigan(widths=(64, 128, 256, 384))",
        "schedule": f"step(at={tuple(round(HALVED * k / STEPS, 4) for k in range(1, STEPS // HALVED))}, factor=0.5)",
        "recogniser_size": 64, "recogniser_steps": RECOGNISER, "recogniser_batch": 256, "recogniser_augment": (),
        "backbone": "resnet()", "pooling": "average()", "head": "cosface(scale=64.0)",
        "embedding": 256,
    })
    config.optimizers.update({
        "generator": "adam(rate=2e-4, beta_1=0.5)", "critic": "adam(rate=2e-4, beta_1=0.5)",
        "identity": "adam(rate=3.6e-5, beta_1=0.5)"})
    config.data.update({
        "train_identities": "", "holdout": 0.01,
        "augment": ("flip()", "jitter(brightness=0.05, contrast=0.05, saturation=0.05)")})
    return config
