"""SiGAN on your own faces: a folder with one sub-folder a person, 16 x 16 to 64 x 64.

    python -m tfrecords.write --images=photos --pattern='(?P<identity>[^/]+)/[^/]+$' --out=build/data/photos
    python -m keras_apps.train --config=keras_apps/configs/face_hallucination/folder.py --data=build/data/photos \\
        --workdir=build/photos_faces

Three in ten persons are held back to judge by. `--config.scale=8` makes more of less; `--config.size=32` is a quarter
of the work. Faces should be cut alike, as `tfrecords.write --crop=box|landmarks` does.
"""

from keras_apps.configs.face_hallucination.sigan_resnet import get_config as sigan_resnet


def get_config():
    config = sigan_resnet()
    config.update({
        "size": 64, "recogniser_size": 48, "recogniser_steps": 1500, "steps": 3000, "checkpoint_every": 1000,
    })
    config.data.update({"train_identities": "", "holdout": 0.3})
    return config
