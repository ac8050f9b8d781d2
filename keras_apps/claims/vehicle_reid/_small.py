"""What the claims on `vehicle_reid` have in common: small images, few steps, and all 162 unseen vehicles as queries.

So few steps leave nets with plain strides near the pixels' figures (see the claim `stronger_baseline`): claims on other
parts are made on the anti-aliased strong baseline, the config `no_mffm`.
"""

SMALL = {"steps": 300, "checkpoint_every": 300, "size": 48, "batch": 32, "schedule": "cosine(warmup=30)",
         "data.validation_split": "", "data.test_split": "", "distractors": ("train",)}
SETS = {"vehicle_reid": ""}
# Its weights stand still, but the batch norms inside find their statistics.
UNTRAINED = {**SMALL, "steps": 50, "checkpoint_every": 50, "schedule": "constant()",
             "optimizers.network": "adam(rate=1e-9)"}
