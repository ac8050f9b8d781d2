"""DCGAN at the size that is published: colour, 64 pixels, batches of 64, 50 epochs of 200,000 images. Not run here.

    python -m tfrecords.write --images=celeba.zip --out=build/data/faces
    python -m keras_apps.train --config=keras_apps/configs/image_generation/dcgan_64.py --data=build/data/faces \\
        --workdir=build/zoo/faces/dcgan
    python -m keras_apps.zoo --families=dcgan_64,lsgan_64,wgan_64,wgan_gp_64,pggan_64 --data=build/data/faces \\
        --out=build/zoo/faces --count=40000

Each critic step draws its own batch, so that WGAN's five make five times as many epochs. 200,000 fakes of each:
--count=200000; a batch of the detector holds as many of all together as real images.

Its judge learns quarter turns where the images have no labels. Days on CPUs; meant for GPUs (--strategy=mirrored).
"""

from keras_apps.configs.image_generation.dcgan import get_config as small


def published(config):
    """A small config at the published size."""
    config.update({"size": 64, "latent": 100, "steps": 160_000, "batch": 64, "checkpoint_every": 5000,
                   "encoder_steps": 5000, "encoder_batch": 128, "embedding": 128, "samples": 10_000,
                   "backbone": "small_cnn(widths=(32, 64, 128, 256))", "ema": 0.999, "follow_every": 5000})
    config.data.update({"train_split": "", "test_split": "", "holdout": 0.05})
    return config


def get_config():
    config = published(small())
    config.update({"generator": "dcgan(width=64)", "critic": "dcgan(width=64)"})
    return config
