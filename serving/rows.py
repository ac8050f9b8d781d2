"""What the client's commands say of one image, as a row that can be written as JSON."""

import numpy as np

from serving import labels, vote


def of_image(signature, image, answer, k=None):
    """The row of an image.

    Args: signature: embed, ask, search, detect or classify.  answer: {output: the image's own value}, as `Client.each`
          gives it.  k: of search, how many entries are kept; None = all.
    """
    if signature == "classify":
        return labels.row_of(image, answer)
    if signature == "search":
        return _search(image, answer, k)
    if signature == "detect":
        return {"image": image, **{name: plain(value) for name, value in answer.items()}}
    return {"image": image, "embedding": answer["embedding"].tolist()}


def of_all(signature, images, answer, k=None):
    """The rows of {output: values [n, ...]}."""
    return [
        of_image(signature, image, {name: value[row] for name, value in answer.items()}, k)
        for row, image in enumerate(images)
    ]


def plain(value):
    """A value of an array as JSON knows it."""
    value = value.item() if isinstance(value, np.generic) else value
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _search(image, answer, k):
    identities, scores, entries = (answer[name][:k] for name in ("identities", "scores", "entries"))
    (cast,) = vote.votes({"identities": [identities], "unknown": [answer["unknown"]]})
    return {
        "image": image,
        "unknown": bool(answer["unknown"]),
        "matches": [
            {"identity": identity, "score": float(score), "entry": entry}
            for identity, score, entry in zip(identities, scores, entries)
        ],
        "vote": cast,
        "voted": vote.winner(cast),
    }
