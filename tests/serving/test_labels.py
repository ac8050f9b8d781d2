"""The answers of classify as rows and in words."""

import json

import numpy as np
import pytest

from serving import labels

ANSWER = {"label": "b", "decision": np.int32(1), "abstain": np.bool_(True),
          "probabilities": np.array([0.25, 0.5, 0.125], np.float32),
          "classes": np.array(["a", "b", "c"], object)}  # fmt: skip


def test_a_row_is_json_in_the_order_of_the_columns():
    row = labels.row_of("x.png", ANSWER)
    assert json.dumps(row) == (
        '{"image": "x.png", "label": "b", "decision": 1, "abstain": true, '
        '"probabilities": {"a": 0.25, "b": 0.5, "c": 0.125}}'
    )
    row = labels.row_of("x.png", ANSWER | {"uncertainty": np.float32(0.75)})
    assert list(row)[-1] == "uncertainty" and row["uncertainty"] == 0.75


@pytest.mark.parametrize("probabilities, label, expected", [
    ({"a": 0.25, "b": 0.5, "c": 0.125}, "b", ("a", 0.25)),
    ({"a": 0.25, "b": 0.5, "c": 0.125}, "a", ("b", 0.5)),  # decided by more than the probability
    ({"a": 0.4, "b": 0.2, "c": 0.2}, "a", ("b", 0.2)),
    ({"a": 1.0}, "a", None),
])  # fmt: skip
def test_the_runner_up_is_the_most_probable_of_the_others(probabilities, label, expected):
    assert labels.runner_up({"probabilities": probabilities, "label": label}) == expected


def test_labels_are_counted_where_the_model_is_sure():
    rows = [{"label": label, "abstain": abstain} for label, abstain in zip("aabbbc", [1, 0, 0, 0, 0, 1])]
    assert labels.counts(rows) == "6 images: 3 b, 1 a, 2 unsure"
    assert labels.counts(rows[:1]) == "1 image: 1 unsure" and labels.counts(rows[1:3]) == "2 images: 1 a, 1 b"
    assert labels.counts(rows[3:4] * 1200) == "1,200 images: 1,200 b"
