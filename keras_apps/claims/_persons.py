"""Three splits of the persons of ORL, one a seed: thirty are trained on, the ten that are judged change."""

SETS = {"orl_faces": ""}
SPLITS = {"data.train_identities": ("1-30", "1-20,31-40", "1-10,21-40")}
PERSONS = 40
