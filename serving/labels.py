"""What `classify` answered, as rows and in words."""

import collections

UNSURE = "unsure: ask a person"


def row_of(image, answer):
    """{"image", "label", "decision", "abstain", "probabilities": {class: its own}}, "uncertainty" where it is told.

    Args: answer: {output: value} of one image, as `Client.classify_each` gives it.
    """
    row = {
        "image": image,
        "label": answer["label"],
        "decision": int(answer["decision"]),
        "abstain": bool(answer["abstain"]),
        "probabilities": dict(zip(answer["classes"], map(float, answer["probabilities"]))),
    }
    return row | ({"uncertainty": float(answer["uncertainty"])} if "uncertainty" in answer else {})


def runner_up(row):
    """(class, probability) of the most probable one beside the label; None where there is no other."""
    others = ((name, value) for name, value in row["probabilities"].items() if name != row["label"])
    return max(others, key=lambda other: other[1], default=None)


def counts(rows):
    """"5 images: 3 normal, 1 pneumonia, 1 unsure" in this order: a label counts where the model is sure of it."""
    sure = collections.Counter(row["label"] for row in rows if not row["abstain"])
    unsure = sum(row["abstain"] for row in rows)
    parts = [f"{count:,} {label}" for label, count in sure.most_common()] + ([f"{unsure:,} unsure"] if unsure else [])
    return f"{len(rows):,} image{'s' if len(rows) != 1 else ''}: {', '.join(parts)}"
