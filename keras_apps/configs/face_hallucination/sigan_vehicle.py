"""SiGAN in colour, on vehicles: 16 x 12 to 64 x 48; images of camera 1 are restored, camera 2 is searched.

    python -m tfrecords.write --images=$SUITE_DATA/vehicle_reid/vehicle_reid.zip \\
        --splits=train:train.txt,val:val.txt,test:test.txt \\
        --pattern='(?P<identity>(?P<label>[a-z]+)_\\d+)_cam(?P<camera>\\d)\\.jpg' --out=build/data/vehicle_reid
    python -m keras_apps.train --config=keras_apps/configs/face_hallucination/sigan_vehicle.py \\
        --data=build/data/vehicle_reid --workdir=build/sigan_vehicle

top1 is among all 567 vehicles, those trained on among them; top1_closed among the 60 of the test.
"""

from keras_apps.configs.face_hallucination.sigan_resnet import get_config as sigan_resnet


def get_config():
    config = sigan_resnet()
    config.update({
        "size": (64, 48), "query_camera": "1", "recogniser_size": (64, 48), "recogniser_steps": 600,
        "recogniser_augment": ("jitter(brightness=0.3, contrast=0.3)", "erase(share=0.5, area=0.15)"),
        "pooling": "average()", "steps": 600, "checkpoint_every": 600,
    })
    config.data.update({
        "train_identities": "", "train_split": "train", "validation_split": "val", "test_split": "test",
    })
    return config
