"""DeepFD at the size that is published: colour, 64 pixels, 200,000 fakes, 2 + 13 epochs. Never run here.

The data are those of `python -m keras_apps.zoo --families=dcgan_64,lsgan_64,wgan_64,wgan_gp_64,pggan_64 --count=40000`
(see image_generation/dcgan_64.py), 200,000 fakes beside as many real images; or, of pools that are there,

    python -m tfrecords.write \\
        --source="fakes(reals='build/data/faces', pools='build/zoo/faces/pools', test=0.025, validation=0.025)" \\
        --out=build/data/faces_fakes
    python -m keras_apps.train --config=keras_apps/configs/fake_image_detection/deepfd_64.py --config.held_out=wgan \\
        --data=build/data/faces_fakes --workdir=build/fakes/faces_wgan

The coupled network: --config.backbone="deepfd_coupled()" with
--config.loss="triplet(margin=0.8, mining='batch_hard', normalise=False)", --config.batch=128 and a rate of 1e-4.
The common fake feature network: --config.backbone="cffn()" --config.neck="multi_level(levels=3, dimension=128)".
"""

from keras_apps.configs.fake_image_detection.contrastive import get_config as small


def get_config():
    config = small()
    config.update({"size": 64, "batch": 32, "steps": 187_500, "checkpoint_every": 5000, "backbone": "deepfd_res()",
                   "ema": 0.0, "follow_every": 12_500, "pair_share": 0.13,
                   "loss": "contrastive(margin=0.5, distance='euclidean', normalise=False)",
                   "schedule": "step(at=(0.13,), factor=0.1)"})
    config.optimizers.network = "adam(rate=1e-3)"
    return config
