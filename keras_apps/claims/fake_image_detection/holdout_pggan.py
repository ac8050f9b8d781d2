"""Pairs teach a detector to find the fakes of a generator it never saw: pggan held out.

Claimed: on fakes of pggan, F (fake = positive) and AUC are higher after pairs, contrastive or triplets, than with
cross-entropy alone in equally many steps; on unseen fakes of the four trained generators the gap is smaller; of a fake
patch pasted into a real image the map holds more than of a patch of another real image; the 8 x 8 thumbnail is beaten;
after JPEG at quality 75 AUC stays above .9 on seen generators and .7 on the held-out one.
Source: inspired by DeepFD (arXiv:1809.08754; ICIP 2019), whose networks saw 400,000 images of 64 pixels.
Shrunk: grey images of 28 pixels, 4,000 fakes a generator, a narrow network, 3,000 steps of 64; 1,000 fakes in the test.
"""

from keras_apps.claims.fake_image_detection._holdout import held_out

CLAIM = held_out("pggan")
