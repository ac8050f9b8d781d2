"""Pairs, then pairs and classifier, beat the classifier alone and four standard networks from scratch on 100 images.

Claimed: on the 624 test images F and accuracy of SSSNet are higher than those of the same network with cross-entropy
alone, and than those of a DenseNet, an EfficientNetV2, a MobileNetV3 and a ResNeXt with cross-entropy, all from scratch
on the same 100 labelled images in equally many steps; the logistic regression on thumbnails is beaten.
Source: SSSNet (IEEE AVSS 2019), known from its lecture alone: 400 images, P .934, R .900, specificity .937, accuracy
.918, F .917; standard networks about .46.
Differs: X-rays in place of endoscopy; keras-cv's EfficientNetV2, and all four narrower and with a stem of small
stride: their published sizes do not fit 28 pixels.
Shrunk: 28 pixels, 360 steps of 32 images; 100 labels alone, as five networks at 200 and 400 would take an hour.
"""

from keras_apps.claims.claim import Claim
from keras_apps.claims.small_sample_diagnosis._pneumonia import ALONE, COLUMNS, SETS, arm

RIVALS = {
    "densenet": "keras_cv(name='densenet', sizes={'stackwise_num_repeats': (2, 4, 4)})",
    "efficientnet": "keras_cv(name='efficientnet_v2', sizes={'stackwise_kernel_sizes': (3, 3, 3, 3), "
                    "'stackwise_num_repeats': (1, 2, 2, 2), 'stackwise_input_filters': (32, 16, 32, 48), "
                    "'stackwise_output_filters': (16, 32, 48, 96), 'stackwise_expansion_ratios': (1, 4, 4, 4), "
                    "'stackwise_squeeze_and_excite_ratios': (0, 0, 0, 0.25), 'stackwise_strides': (1, 2, 2, 2), "
                    "'stackwise_conv_types': ('fused', 'fused', 'fused', 'unfused')})",
    "mobilenet": "keras_cv(name='mobilenet_v3', sizes={'stackwise_expansion': (1, 4, 4, 4, 6), "
                 "'stackwise_filters': (16, 24, 24, 40, 48), 'stackwise_kernel_size': (3, 3, 3, 5, 5), "
                 "'stackwise_stride': (1, 2, 1, 2, 1), 'stackwise_se_ratio': (0.25, None, None, 0.25, 0.25), "
                 "'stackwise_activation': ('relu', 'relu', 'relu', 'hard_swish', 'hard_swish')})",
    "resnext": "resnext(widths=(32, 64, 128), blocks=(1, 1, 1), cardinality=8, stem_stride=2)",
}

CLAIM = Claim(
    sets=SETS,
    arms={"sssnet": arm(100), "cross_entropy": arm(100, **ALONE),
          **{name: arm(100, **ALONE, backbone=net) for name, net in RIVALS.items()}},
    metric="f",
    also=COLUMNS,
    beside=("f", "accuracy"),
    rules=tuple(f"sssnet{key} > {other}{key}" for key in ("", ".accuracy") for other in ("cross_entropy", *RIVALS))
    + ("sssnet > sssnet.floor_f",),
    minutes=25,
)
