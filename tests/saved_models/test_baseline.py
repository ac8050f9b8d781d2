"""What is stored of held-out images, and what is refused when it is read."""

import json

import numpy as np
import pytest
import tensorflow as tf

from saved_models.baseline import LEVELS, MOST_IMAGES, baseline, distances, facts_of, measured, read_baseline

IMAGES = np.random.default_rng(0).random((300, 2, 2, 3)).astype(np.float32)


def vectors_of(images):
    return tf.reduce_mean(images, [1, 2]) - 0.4


def embed(images):
    return {"embedding": vectors_of(images)}


def classify(images):
    odds = tf.nn.softmax(9 * vectors_of(images))
    return {"probabilities": odds, "abstain": tf.reduce_max(odds, 1) < 0.5, "decision": tf.argmax(odds, 1),
            "label": tf.as_string(tf.argmax(odds, 1)), "map": images[..., 0]}


def detect(images):
    score = tf.reduce_mean(images, [1, 2, 3])
    return {"score": score, "decision": score > 0.5}


def verify(first, second):
    score = 1.0 - tf.reduce_mean(tf.abs(first - second), [1, 2, 3])
    return {"score": score, "decision": score > 0.5}


def fake_map(images):
    assert len(images) == 1, "no more than the one image that says which outputs there are"
    return {"map": images[..., 0]}


SIGNATURES = {"classify": {"function": classify, "images": 1}, "embed": {"function": embed, "images": 1},
              "detect": {"function": detect, "images": 1}, "verify": {"function": verify, "images": 2},
              "fake_map": {"function": fake_map, "images": 1},
              "generate": {"function": None, "inputs": {"seed": tf.TensorSpec([None], tf.int64)}}}


@pytest.fixture(scope="module")
def found():
    return baseline(SIGNATURES, len(IMAGES), IMAGES.__getitem__, np.arange(len(IMAGES)) % 7)


def test_what_is_stored_is_what_the_images_are_answered(found):
    assert found["images"] == 300 and found["default"] == "classify"
    assert {name: set(facts) for name, facts in found["signatures"].items()} == {
        "classify": {"confidence", "abstain"}, "embed": {"distance"}, "detect": {"score", "decision"},
        "verify": {"score"}}
    scores = IMAGES.mean((1, 2, 3), dtype=np.float64)
    facts = found["signatures"]["detect"]["score"]
    for level, value in facts["quantiles"].items():
        assert value == pytest.approx(np.sort(scores)[int(np.ceil(float(level) * 300)) - 1], abs=1e-6)
    assert facts["above"] == 0.5 and facts["count"] == 300
    assert found["signatures"]["detect"]["decision"]["share"] == pytest.approx((scores > 0.5).mean())
    odds = classify(IMAGES)["probabilities"].numpy().max(1)
    assert found["signatures"]["classify"]["abstain"] == {
        "count": 300, "effective": 300.0, "share": pytest.approx((odds < 0.5).mean())}
    assert found["signatures"]["classify"]["confidence"]["quantiles"]["0.99"] == pytest.approx(np.sort(odds)[296])


def test_distances_are_those_to_the_mean_direction(found):
    vectors = vectors_of(IMAGES).numpy().astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    centre = vectors.mean(0) / np.linalg.norm(vectors.mean(0))
    facts = found["signatures"]["embed"]["distance"]
    np.testing.assert_allclose(facts["centre"], centre, atol=1e-6)
    assert facts["quantiles"]["0.5"] == pytest.approx(np.sort(1 - vectors @ centre)[149], abs=1e-6)
    one, many = distances(3 * vectors[:1], centre), distances(3 * vectors, centre)
    assert one[0] == pytest.approx(many[0], abs=1e-12) and many[0] == pytest.approx(1 - vectors[0] @ centre)
    assert np.isnan(distances(np.zeros((1, 3)), centre)).all() and np.isnan(distances(np.zeros((2, 3)), centre)).all()


def test_half_of_the_pairs_are_of_one_identity():
    seen = []

    def noted(first, second):
        seen.append((first[:, 0, 0, 0].numpy(), second[:, 0, 0, 0].numpy()))
        return {"score": first[:, 0, 0, 0]}

    identities = np.repeat(np.arange(20), 5)
    numbers = np.arange(100, dtype=np.float32)[:, None, None, None]
    facts = baseline({"verify": {"function": noted, "images": 2}}, 100, numbers.__getitem__, identities)
    first, second = (np.concatenate(part).astype(int) for part in zip(*seen[1:]))
    assert (first != second).all()
    np.testing.assert_array_equal(identities[first] == identities[second], np.arange(100) % 2 == 0)
    assert "above" not in facts["signatures"]["verify"]["score"], "the mix of pairs is nobody's"


def test_at_most_so_many_images_and_none_of_few():
    seen = []

    def load(places):
        seen.extend(places)
        return IMAGES[places % 300]

    found = baseline({"detect": SIGNATURES["detect"]}, 2000, load)
    assert max(seen) == MOST_IMAGES - 1 and found["images"] == MOST_IMAGES
    assert baseline(SIGNATURES, 19, load) == {}
    assert baseline({"generate": SIGNATURES["generate"], "fake_map": SIGNATURES["fake_map"]}, 300, load) == {}


def test_answers_that_are_no_numbers_are_left_out():
    def strange(images):
        score = tf.where(images[:, 0, 0, 0] > 0.3, images[:, 0, 0, 0], np.nan)
        return {"score": score, "embedding": tf.zeros([len(images), 4])}

    found = baseline({"strange": {"function": strange, "images": 1}}, 300, IMAGES.__getitem__)["signatures"]
    assert set(found["strange"]) == {"score"} and found["strange"]["score"]["quantiles"]["0.01"] > 0.3
    assert found["strange"]["score"]["count"] == (IMAGES[:, 0, 0, 0] > 0.3).sum()


def test_images_that_are_answered_alike_count_as_one():
    random, groups = np.random.default_rng(0), np.repeat(np.arange(30), 10)

    def effective(score):
        return facts_of({"score": score}, groups=groups)["score"]["effective"]

    assert 150 < effective(random.normal(size=300)) <= 300
    assert effective(np.repeat(random.normal(size=30), 10)) == pytest.approx(30, abs=1)
    assert 30 < effective(np.repeat(random.normal(size=30), 10) + random.normal(size=300)) < 150
    assert facts_of({"abstain": np.zeros(300, bool)}, groups=groups)["abstain"]["effective"] == 30
    assert facts_of({"abstain": np.arange(300) < 5}, groups=np.zeros(300))["abstain"]["effective"] == 1
    assert facts_of({"score": random.normal(size=300)})["score"]["effective"] == 300
    # Of few groups nobody knows how alike they are.
    assert facts_of({"score": random.normal(size=300)}, groups=np.arange(300) % 9)["score"]["effective"] == 9


def test_which_outputs_are_read():
    rows = np.zeros(3, np.float32)
    assert {name: output for name, (output, _) in measured(
        {"scores": np.zeros((3, 5), np.float32), "unknown": rows > 0, "identities": np.zeros((3, 5), object)}
    ).items()} == {"score": "scores", "unknown": "unknown"}
    assert {name: output for name, (output, _) in measured(
        {"scores": np.zeros((3, 5), np.float32), "classes": np.zeros((3, 5), object)}).items()} == {
            "confidence": "scores"}
    assert measured({"score": np.zeros((3, 2), np.float32), "decision": np.zeros(3, np.int64)}) == {}
    best = measured({"scores": np.float32([[1, 7, 2]])})["score"][1]
    np.testing.assert_array_equal(best(np.float32([[1, 7, 2]])), [7])


def test_what_was_stored_is_read_again(found, tmp_path):
    file = tmp_path / "monitoring.json"
    assert read_baseline(str(file)) == {}
    file.write_text(json.dumps(found))
    assert read_baseline(str(file)) == found


@pytest.mark.parametrize("change", [
    lambda found: found["signatures"]["detect"]["score"].pop("count"),
    lambda found: found["signatures"]["detect"]["score"].update(count=0),
    lambda found: found["signatures"]["detect"]["score"].update(above=1.5),
    lambda found: found["signatures"]["detect"]["score"].update(effective=301),
    lambda found: found["signatures"]["detect"]["score"]["quantiles"].update({str(LEVELS[0]): 9.0}),
    lambda found: found["signatures"]["detect"]["score"]["quantiles"].update({str(LEVELS[0]): float("nan")}),
    lambda found: found["signatures"]["detect"]["decision"].update(share="much"),
    lambda found: found["signatures"]["embed"]["distance"].update(centre=[[1.0]]),
    lambda found: found["signatures"]["embed"].update(colour={"count": 1}),
    lambda found: found.pop("default"),
    lambda found: found.update(signatures=[]),
])
def test_damaged_content_is_refused(found, tmp_path, change):
    found = json.loads(json.dumps(found))
    change(found)
    file = tmp_path / "monitoring.json"
    file.write_text(json.dumps(found))
    with pytest.raises(ValueError, match="monitoring.json` does not hold what an export writes .*; export the version"):
        read_baseline(str(file))


def test_other_files_are_refused(tmp_path, monkeypatch):
    file = tmp_path / "monitoring.json"
    file.write_text("[" * 100_000)
    with pytest.raises(ValueError, match="does not hold"):
        read_baseline(str(file))
    monkeypatch.setattr("saved_models.baseline.FILE_BYTES", 1000)
    with pytest.raises(ValueError, match="more than the 1,000 bytes"):
        read_baseline(str(file))
