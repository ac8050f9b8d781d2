"""Pairs teach a detector to find the fakes of a generator it never saw: pggan held out.

Claimed: on fakes of pggan, F (fake = positive) and AUC are higher after pairs, contrastive or triplets, than with
cross-entropy alone in equally many steps; on unseen fakes of the four trained generators the gap is smaller; of a fake
patch pasted into a real image the map holds more than its share of the area and more than of a patch of another real
image; the 8 x 8 thumbnail is beaten; after JPEG at quality 75 AUC stays above .9 on seen generators and .7 on this one.
Source: inspired by DeepFD (arXiv:1809.08754; ICIP 2019), whose networks saw 400,000 images of 64 pixels.
Differs: codes at length one and a margin of 1, all triplets instead of the hardest, as the configs say; the network.
Shrunk: grey images of 28 pixels, 4,000 fakes a generator, a narrow network, 3,000 steps of 64; 1,000 fakes in the test.
"""

from keras_apps.claims.fake_image_detection._holdout import held_out

CLAIM = held_out("pggan")
