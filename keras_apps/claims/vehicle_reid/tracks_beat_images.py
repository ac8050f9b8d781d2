"""Mean vectors of tracks search better than single images: both sides, then the gallery alone, then neither.

Claimed: rank-1 on identities never trained on, of one network; a frame may be blurred or covered, a track seldom is.
Source: inspired by the track matching of multi-level vehicle re-identification (CityFlow, VeRi-776).
Shrunk: made-up figures, 40 to train on and 40 to search, 4 tracks of 6 frames by 4 cameras at 48 pixels, 200 steps
of 8 x 4 images.
"""

from keras_apps.claims.claim import Arm, Claim
from keras_apps.claims.vehicle_reid._small import SMALL, UNTRAINED

OWN = {"data.train_split": "", "data.holdout": 0.5, "query_camera": "", "distractors": (),
       "data.sampler": "pk(images=4)"}
CLAIM = Claim(
    sets={"tracks": "--synthetic=tracks:identities=80,tracks=4,frames=6,cameras=4,size=48,nuisance=1.0"},
    arms={"baseline": Arm("vehicle_reid/no_mffm", "tracks", {
              **SMALL, "steps": 200, "checkpoint_every": 200, **OWN}),
          "untrained": Arm("vehicle_reid/no_mffm", "tracks", {**UNTRAINED, **OWN})},
    metric="rank1",
    also=("image_to_track_rank1", "track_to_track_rank1", "map"),
    rules=("baseline.track_to_track_rank1 > baseline.image_to_track_rank1",
           "baseline.image_to_track_rank1 > baseline", "baseline > baseline.floor_rank1"),
    minutes=6,
)
