"""The strong baseline at its published size, for sets such as VeRi-776: hours on a GPU, never run here.

    python -m tfrecords.write --source=veri776:VeRi.zip --out=build/data/veri776
    python -m keras_apps.train --config=keras_apps/configs/vehicle_reid/resnet50.py --data=build/data/veri776 \\
        --workdir=build/reid_resnet50 --strategy=mirrored

120 epochs of 37,778 images in batches of 16 vehicles x 4 images, at 256 x 256; the rate rises over 10 epochs and falls
to a tenth at 40 and 70. For another set change `steps` to 120 x images / 64. Weights to begin with, as the published
figures have them: --config.backbone="keras_cv(name='resnet', weights='preset:resnet50_imagenet')" (online; its last
stride is 2) or weights='FILE.h5' with the sizes below.
For persons change `size` to (256, 128). Expected on 2 cores: nothing, it is too large for them.
Source: Luo et al., CVPRW 2019, arXiv:1903.07071.
Differs: the decay acts on the weights beside Adam (AdamW), there inside its gradient; `test_images` keeps galleries
larger than 20,000 to that (`left_out` says how many images are missing then).
"""

from keras_apps.config import base


def get_config():
    config = base()
    config.update({
        "app": "vehicle_reid", "steps": 70800, "batch": 64, "checkpoint_every": 2000, "size": 256,
        "backbone": "keras_cv(name='resnet', sizes={'stackwise_blocks': (3, 4, 6, 3), "
                    "'stackwise_strides': (1, 2, 2, 1), 'block_type': 'block'})",
        "neck": "last()", "pooling": "average()", "embedding": 0, "dropout": 0.0, "norm": "batch", "mirror": False,
        "head": "linear(bias=False, smoothing=0.1)",
        "loss": "triplet(margin=0.3, mining='batch_hard', normalise=False)", "center": "center()",
        "weights": {"head": 1.0, "metric": 1.0, "center": 5e-4},
        "schedule": "step(at=(0.333333, 0.583333), factor=0.1, warmup=5900)",
        "protocol": "veri", "average_precision": "step", "query_camera": "", "distractors": (), "reranker": "",
        "matcher": "", "restyle": "",
    })
    config.optimizers.network = "adam(rate=3.5e-4, decay=5e-4)"
    config.optimizers.center = "sgd(rate=0.5)"
    config.data.update({
        "train_split": "train", "sampler": "pk(images=4)", "test_images": 20000,
        "augment": ("pad_crop(pixels=10, fill='zero')", "flip()", "erase(share=0.5, area=0.3)"),
    })
    return config
