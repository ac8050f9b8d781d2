import collections
import pickle

import numpy as np
import pytest

from tfrecords import schema
from tfrecords.sources import _figures
from tfrecords.sources._figures import View
from tfrecords.sources.synthetic import SyntheticSource

SMALL = {
    "identities": "identities=4,images=3", "tracks": "identities=2,tracks=2,frames=3",
    "domains": "classes=2,images=2,domains=6", "ordinal": "images=12", "tail": "classes=3,images=6",
    "cases": "cases=4,images=2", "bands": "images=6", "clips": "clips=4,frames=3",
}
CODE = np.random.default_rng(5).random(_figures.CODE)


def source(kind, options):
    return SyntheticSource.parse(f"{kind}:{options}")


def pixels(items):
    return np.stack([item.read() for item in items]).astype(np.float64)


@pytest.fixture(params=SMALL)
def kind(request):
    return request.param


def test_every_kind_gives_sound_items(kind):
    found = source(kind, SMALL[kind])
    items = list(found)
    assert len(found) == len(items) == len({item.path for item in items})
    assert all(schema.settle(item.columns) and item.stamp for item in items)
    columns = {
        "identities": "identity camera quality orientation landmarks",
        "tracks": "identity camera track frame quality orientation landmarks", "domains": "label source",
        "ordinal": "target cohort", "tail": "label", "cases": "case label true_label cohort", "bands": "label",
        "clips": "label case track frame"}[kind]
    assert all(set(item.columns) == set(columns.split()) for item in items)
    assert found.description["synthetic"] is True and found.description["seed"] == 0
    assert found.description["kind"] == kind and found.description["size"] == 48
    for item in items:
        image = item.read()
        assert image.shape == ((48, 48, 9) if kind == "bands" else (48, 48, 3))
        assert image.dtype == (np.float32 if kind == "bands" else np.uint8) and np.ptp(image) > 0
        assert np.isfinite(image).all() and image.min() >= 0


def test_an_image_is_a_function_of_seed_kind_and_its_numbers(kind):
    first, again = list(source(kind, SMALL[kind])), list(source(kind, SMALL[kind]))
    assert [(item.path, item.columns) for item in first] == [(item.path, item.columns) for item in again]
    for item, other in reversed(list(zip(first, again))):
        np.testing.assert_array_equal(item.read(), pickle.loads(pickle.dumps(other)).read())
    other_seed = list(source(kind, SMALL[kind] + ",seed=1"))
    for item, other in zip(first, other_seed):
        assert (item.read() != other.read()).mean() > 0.5
    assert len({item.read().tobytes() for item in first}) == len(first), "no image comes twice"


def test_an_image_does_not_depend_on_how_many_there_are():
    few = {item.path: item for item in source("identities", "identities=2,images=2")}
    many = {item.path: item for item in source("identities", "identities=7,images=9")}
    for path, item in few.items():
        np.testing.assert_array_equal(item.read(), many[path].read())
        assert item.columns == many[path].columns


def test_the_source_survives_pickling(kind):
    found = source(kind, SMALL[kind] + ",size=16")
    again = pickle.loads(pickle.dumps(found))
    assert again.description == found.description and len(again) == len(found)
    np.testing.assert_array_equal(next(iter(again)).read(), next(iter(found)).read())


@pytest.mark.parametrize("options", ["size=16,nuisance=2", "size=128,nuisance=2", "size=33,nuisance=0"])
def test_extremes_are_drawn(kind, options):
    for item in list(source(kind, SMALL[kind] + "," + options))[:4]:
        image = item.read()
        assert np.isfinite(image).all() and 0 <= item.columns.get("quality", 1) <= 1


def nearest_mean(items, column):
    """Accuracy of the nearest class mean in pixels, fitted on every other image of a class."""
    images = pixels(items).reshape(len(items), -1)
    labels = np.array([item.columns[column] for item in items])
    fitted = np.arange(len(items)) % 2 == 0
    names = np.unique(labels)
    means = np.stack([images[fitted & (labels == name)].mean(axis=0) for name in names])
    nearest = np.argmin(((images[~fitted, None] - means) ** 2).sum(axis=-1), axis=1)
    return np.mean(names[nearest] == labels[~fitted])


def test_pixels_are_a_floor_above_chance_that_can_be_beaten():
    identities = nearest_mean(list(source("identities", "identities=20,images=16,size=24")), "identity")
    assert 3 / 20 < identities < 0.9
    assert nearest_mean(list(source("identities", "identities=20,images=16,size=24,nuisance=0")), "identity") > 0.99
    assert 2 / 8 < nearest_mean(list(source("tail", "classes=8,images=30,size=24,power=0")), "label") < 0.9


@pytest.mark.parametrize("kind, options", [("tracks", "identities=6,tracks=2,frames=8"),
                                           ("clips", "clips=12,frames=8")])
def test_motion_is_smooth(kind, options):
    images = pixels(source(kind, options)).reshape(12, 8, -1)
    near = np.abs(images[:, 1:] - images[:, :-1]).mean()
    far = np.abs(images[:, 7] - images[:, 0]).mean()
    across = np.abs(images[1:, 0] - images[:-1, 0]).mean()
    assert near < 0.6 * far < 0.6 * across


def test_quality_is_sharpness():
    items = list(source("tracks", "identities=1,tracks=1,frames=7,cameras=1"))
    images = pixels(items)
    detail = np.abs(np.diff(images, 2, axis=2)).mean(axis=(1, 2, 3))
    quality = np.array([item.columns["quality"] for item in items])
    assert np.corrcoef(quality, detail)[0, 1] > 0.8 and np.ptp(quality) > 0.5


def test_a_camera_has_a_colour_of_its_own():
    items = list(source("identities", "identities=30,images=6,cameras=3,size=16"))
    camera = np.array([item.columns["camera"] for item in items])
    colour = pixels(items).mean(axis=(1, 2))
    means = np.stack([colour[camera == number].mean(axis=0) for number in range(3)])
    within = np.mean([colour[camera == number].var(axis=0) for number in range(3)])
    assert means.var(axis=0).mean() > 5 * within / 60, "far beyond what 60 images a camera would differ by chance"


def test_domains_show_the_same_classes_in_another_style():
    items = list(source("domains", "classes=3,images=6,domains=6"))
    by_style = collections.defaultdict(list)
    for item in items:
        by_style[item.columns["source"]].append(item.read() / 255.0)
    assert list(by_style) == ["plain", "inverted", "edges", "stripes", "upsampled", "checkered"]
    assert np.mean(by_style["edges"]) < 0.5 * np.mean(by_style["plain"])

    def alternates(images):
        """Strength of the finest checkerboard."""
        signs = 1 - 2 * (np.add.outer(np.arange(48), np.arange(48)) % 2)
        return np.mean([np.abs((image * signs[..., None]).mean()) for image in images])

    assert alternates(by_style["checkered"]) > 10 * alternates(by_style["plain"])
    waves = np.abs(np.fft.rfft2(np.mean(by_style["stripes"], axis=(0, 3)) - np.mean(by_style["stripes"])))
    place = np.unravel_index(waves.argmax(), waves.shape)
    assert place == (round(48 * 0.6 / 6.28), round(48 * 0.9 / 6.28)), "the stripes' own frequency"
    rough = {style: np.mean(np.square(np.diff(by_style[style], 2, axis=2)[:, :, ::2])) for style in by_style}
    assert rough["upsampled"] < 0.5 * rough["plain"]


def test_the_target_changes_the_image_steadily():
    items = list(source("ordinal", "images=210,cohorts=1,nuisance=0"))
    targets = np.array([item.columns["target"] for item in items])
    assert set(targets) == set(range(21))
    images = pixels(items)
    means = np.stack([images[targets == target].mean(axis=0).ravel() for target in range(21)])
    away = np.linalg.norm(means - means[0], axis=1)
    assert np.corrcoef(away, np.arange(21))[0, 1] > 0.9 and (away[11:] > away[:10].max()).all()
    cohorts = [item.columns["cohort"] for item in source("ordinal", "images=126,cohorts=3")]
    assert collections.Counter(cohorts) == {0: 42, 1: 42, 2: 42}


def test_class_sizes_follow_zipf():
    counts = collections.Counter(item.columns["label"] for item in source("tail", "classes=20,images=200,power=1"))
    assert [counts[label] for label in range(20)] == [round(200 / (label + 1)) for label in range(20)]
    counts = collections.Counter(item.columns["label"] for item in source("tail", "classes=9,images=10,power=2"))
    assert counts[0] == 10 and counts[8] == 1
    assert len(source("tail", "classes=5,images=7,power=0")) == 35


def test_cases_are_of_one_lesion_and_some_labels_are_wrong():
    items = list(source("cases", "cases=400,images=2,classes=3,noise=0.3"))
    wrong = np.array([item.columns["label"] != item.columns["true_label"] for item in items])
    assert abs(wrong.mean() - 0.3) < 0.07
    for first, second in zip(items[::2], items[1::2]):
        assert first.columns == second.columns
    assert {item.columns["true_label"] for item in items} == {item.columns["label"] for item in items} == {0, 1, 2}
    right = source("cases", "cases=30")
    assert all(item.columns["label"] == item.columns["true_label"] for item in right)
    plain = list(source("cases", "cases=40,images=2,nuisance=0"))
    images = pixels(plain)
    assert np.abs(images[::2] - images[1::2]).max() <= 1, "without nuisance a case always looks the same"
    brightness = [images[[item.columns["cohort"] == cohort for item in plain]].mean() for cohort in range(3)]
    assert brightness[0] > brightness[1] > brightness[2]


def test_bands_are_mixtures_of_the_materials():
    for materials in (3, 6):
        items = list(source("bands", f"images=8,classes=3,materials={materials},nuisance=0"))
        values = np.concatenate([item.read().reshape(-1, 9) for item in items]).astype(np.float64)
        singular = np.linalg.svd(values, compute_uv=False)
        assert singular[materials - 1] > 1e-3 * singular[0] and singular[materials] < 1e-5 * singular[0]
    floats = pixels(source("bands", "images=3"))
    whole = list(source("bands", "images=3,bits=16"))
    assert whole[0].read().dtype == np.uint16
    np.testing.assert_allclose(pixels(whole) / 32767.5, floats, atol=2e-5)
    middle = pixels(source("bands", "images=12,classes=3,nuisance=0.3"))[:, 24, 24].reshape(4, 3, 9)
    middle /= np.linalg.norm(middle, axis=-1, keepdims=True)
    for label in range(3):
        others = [middle[1:, other].mean(axis=0) for other in range(3)]
        assert np.argmax([middle[0, label] @ other for other in others]) == label


# The nuisances, one by one.
STRAIGHT = _figures.draw(CODE, View(), 48)


def test_angle_turns_clockwise():
    turned = _figures.draw(CODE, View(angle=np.pi / 2), 48)
    np.testing.assert_allclose(turned, np.rot90(STRAIGHT, -1, axes=(1, 2)), atol=1e-4)


def test_place_shifts_and_zoom_grows():
    moved = _figures.draw(CODE, View(x=4 / 48, y=-2 / 48), 48)
    np.testing.assert_allclose(moved[:, :-1, 2:], STRAIGHT[:, 1:, :-2], atol=1e-4)
    part = [np.abs(_figures.draw(CODE, View(zoom=zoom), 128) - 0.5).sum() for zoom in (0.4, 0.8)]
    assert 3.9 < part[1] / part[0] < 4.1


def test_light_gain_and_cast_multiply():
    np.testing.assert_allclose(_figures.draw(CODE, View(gain=0.5), 48), STRAIGHT / 2, atol=1e-6)
    cast = _figures.draw(CODE, View(cast=(0.5, 1, 1.5)), 48)
    np.testing.assert_allclose(cast, STRAIGHT * np.reshape([0.5, 1, 1.5], (3, 1, 1)), atol=1e-6)
    share = _figures.draw(CODE, View(light=(0.3, -0.2)), 48) / STRAIGHT
    place = (2 * np.arange(48) + 1) / 48 - 1
    np.testing.assert_allclose(share[1], 1 + 0.3 * place - 0.2 * place[:, None], atol=1e-4)


def test_a_cover_hides_its_square_only():
    covered = _figures.draw(CODE, View(cover=(0.5, 0.25, 0.25, (1, 0, 0))), 48)
    changed = np.zeros((48, 48), bool)
    changed[24:36, 30:42] = True
    np.testing.assert_allclose(covered[:, ~changed], STRAIGHT[:, ~changed], atol=1e-6)
    np.testing.assert_allclose(covered[:, 25:35, 31:41] - np.reshape([1, 0, 0], (3, 1, 1)), 0, atol=1e-6)


def test_blur_and_noise():
    soft = _figures.blurred(STRAIGHT, 1.5)
    assert np.abs(np.diff(soft)).max() < 0.6 * np.abs(np.diff(STRAIGHT)).max()
    np.testing.assert_allclose(soft.mean(), STRAIGHT.mean(), atol=0.01)
    rough = _figures.noisy(np.full((3, 200, 200), 0.5, np.float32), 0.05, np.random.default_rng(0))
    assert abs(rough.mean() - 0.5) < 1e-3 and abs(rough.std() - 0.05) < 1e-3


def test_landmarks_are_where_the_features_are_drawn():
    view = View(angle=0.3, zoom=0.9, x=0.1, y=-0.2, yaw=0.7)
    points = np.reshape(_figures.landmarks(CODE, view, 96), (5, 2))
    other = CODE.copy()
    other[29:32] = 1 - other[29:32]             # the colour of the eyes
    changed = np.abs(_figures.draw(other, view, 96) - _figures.draw(CODE, view, 96)).sum(axis=0)
    left = np.arange(96) + 0.5 < points[:2, 0].mean()
    for eye, side in zip(points[:2], (left, ~left)):
        weight = changed * side
        middle = [(weight * (np.arange(96) + 0.5)).sum() / weight.sum(),
                  (weight * (np.arange(96) + 0.5)[:, None]).sum() / weight.sum()]
        np.testing.assert_allclose(eye, middle, atol=0.3)
    assert points[0, 0] < points[1, 0] and points[3, 0] < points[4, 0] and points[2, 1] < points[3:, 1].max()


@pytest.mark.parametrize("text, message", [
    ("faces", "`faces` is not a kind of synthetic images; the kinds are identities, tracks,"),
    ("tail:cameras=3", "`cameras` is not an option of tail; its options are seed, size, nuisance, classes"),
    ("tail:classes=0", "`classes` of tail is 0 but must be a whole number from 1 to 10,000"),
    ("tail:classes=2.5", "`classes` of tail is 2.5 but must be a whole number"),
    ("tail:power=1e999", "`power` of tail is inf but must be a number"),
    ("tail:power=nan", "'power=nan' is no option"),
    ("tail:classes", "'classes' is no option"),
    ("tail:classes=" + "9" * 5000, "is no option"),
    ("tail:size=1000", "`size` of tail is 1000 but must be a whole number from 16 to 128"),
    ("bands:bits=24", "`bits` of bands is 24 but must be 16"),
    ("bands:classes=5,materials=4", "`classes` of bands is 5 but there are only 4"),
    ("", "`` is not a kind"),
])
def test_refusals(text, message):
    with pytest.raises(ValueError, match=message):
        SyntheticSource.parse(text)


def test_options_as_text():
    found = SyntheticSource.parse(" identities: identities=5, images=2.0, nuisance=.5,seed=3 ")
    assert found.description == {"source": "synthetic", "synthetic": True, "kind": "identities", "seed": 3, "size": 48,
                                 "nuisance": 0.5, "identities": 5, "images": 2, "cameras": 3}
    assert SyntheticSource("tail", classes=2, images=3).description["classes"] == 2
