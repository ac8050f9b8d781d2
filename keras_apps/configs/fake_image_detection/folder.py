"""Your own real and fake images: sub-folders real/ and fake/<generator>/; a quarter of the images is held out.

    python -m tfrecords.write --images=photos --pattern='(?P<label>real|fake)/((?P<source>[^/]+)/)?[^/]+$' \\
        --out=build/data/photos
    python -m keras_apps.train --config=keras_apps/configs/fake_image_detection/folder.py --data=build/data/photos \\
        --workdir=build/photos_fakes

Files of both kinds should be of one format and size: the shortcut probe at the start says where they can be told apart
by that alone. What a detector does on a generator it never saw is known only where one is held back:
--config.held_out=NAME, the name of its sub-folder. Frames of one film: a group (?P<track>...) keeps them on one side.
"""

from keras_apps.configs.fake_image_detection.contrastive import get_config as contrastive


def get_config():
    config = contrastive()
    config.update({
        "size": 64,
        "backbone": "deepfd_res(widths=(24, 32, 64), blocks=(1, 2, 1), kernel=(3, 3, 1), stem=3, stem_stride=2)",
    })
    config.data.update({"train_split": "", "validation_split": "", "test_split": "", "holdout": 0.25,
                        "validation": 0.15, "sampler": "balanced()"})
    return config
