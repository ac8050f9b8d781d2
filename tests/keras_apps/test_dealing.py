"""Dealing labelled images: quotas, whole cases, the same seed, and what is refused."""

import types

import numpy as np
import pytest

from keras_apps.dealing import classes_of, deal, require_apart, sides_of, units_of


def random_labels(count, shares, seed=0):
    return np.random.default_rng(seed).choice(len(shares), count, p=shares)


def test_single_images_come_to_the_quotas_exactly():
    labels = np.repeat([0, 1, 2], [100, 60, 40])
    sides = deal(labels, np.arange(200), (0, 0.15, 0.25), seed=3)
    counts = np.array([np.bincount(labels[side], minlength=3) for side in sides])
    np.testing.assert_array_equal(counts, [[60, 36, 24], [15, 9, 6], [25, 15, 10]])
    assert np.sum(sides, axis=0).max() == 1


def test_numbers_of_images_leave_the_others_out():
    labels = random_labels(900, [0.3, 0.7])
    sides = deal(labels, np.arange(900), (400, 13, 60), seed=1)
    assert [side.sum() for side in sides] == [400, 13, 60]
    for side in sides:
        assert abs(labels[side].mean() - labels.mean()) <= 1 / side.sum() + 1e-9


@pytest.mark.parametrize("seed", range(3))
def test_whole_cases_stay_together_and_every_class_is_on_each_side(seed):
    random = np.random.default_rng(seed)
    cases = np.sort(random.integers(0, 60, 400))
    labels = (random.random(60) < 0.25).astype(int)[cases]
    sides = deal(labels, cases, (0, 0.2, 0.2), seed)
    assert np.sum(sides, axis=0).min() == 1
    for place, first in enumerate(sides):
        for second in sides[place + 1:]:
            assert not set(cases[first]) & set(cases[second])
        assert set(labels[first]) == {0, 1}
    for side in sides[1:]:
        assert abs(side.mean() - 0.2) < 0.05 and abs(labels[side].mean() - labels.mean()) < 0.1


def test_cases_of_several_classes_are_dealt_by_the_rarest_first():
    # A field of cells holds many of one kind and sometimes one of a rare kind.
    random = np.random.default_rng(2)
    cases = np.repeat(np.arange(100), 12)
    labels = np.zeros(1200, int)
    rare = random.permutation(100)[:20] * 12
    labels[rare] = 1
    sides = deal(labels, cases, (0, 0.1, 0.2), 0)
    np.testing.assert_array_equal([labels[side].sum() for side in sides], [14, 2, 4])


def test_a_seed_is_a_split_and_the_order_of_rows_is_none_of_its_business():
    labels = random_labels(300, [0.5, 0.5])
    first, same, other = (deal(labels, np.arange(300), (0, 0.2, 0.3), seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, same)
    assert np.not_equal(first, other).any()


@pytest.mark.parametrize("shares, said", [((0, 0.6, 0.5), "`deal` is"), ((290, 20, 20), "300 labelled images"),
                                          ((0.2, 0.9, 0.1), "`deal` is")])
def test_more_than_there_is_is_refused(shares, said):
    with pytest.raises(ValueError, match=said):
        deal(random_labels(300, [0.5, 0.5]), np.arange(300), shares, 0)


def test_a_class_of_fewer_cases_than_sides_is_refused():
    labels, cases = np.repeat([0, 1], [50, 10]), np.r_[np.arange(50), np.repeat([50, 51], 5)]
    with pytest.raises(ValueError, match="class 1 comes from 2 cases but 3 sides"):
        deal(labels, cases, (0, 0.1, 0.2), 0)


def test_a_patient_on_two_sides_is_refused_by_name():
    units = np.array([0, 0, 1, 1, 2, -1, -1])
    train, test = np.array([1, 0, 1, 0, 0, 1, 0], bool), np.array([0, 1, 0, 1, 1, 0, 1], bool)
    with pytest.raises(ValueError, match="2 cases have images both in train and in test [(]ann, bob[)]"):
        require_apart(units, ["ann", "bob", "eve"], {"train": train, "test": test})
    require_apart(units, ["ann", "bob", "eve"], {"train": train & (units != 0), "test": test & (units != 1)})


class FakeRecords:
    """Columns of a data folder."""

    directory = "there"

    def __init__(self, **columns):
        self.columns = {name: np.asarray(values) for name, values in columns.items()}
        self.count = len(self.columns["label"])

    def has(self, name):
        return name in self.columns

    def names(self, name):
        return [value for value in dict.fromkeys(self.columns[name].tolist()) if value]

    def column(self, name):
        names = self.names(name)
        return np.array([names.index(value) if value else -1 for value in self.columns[name]])

    def paths(self, rows):
        return [f"{row}.png" for row in rows]


def settings(deal=(0, 0.2, 0.2), seed=0, ignore_splits=False, **data):
    words = {"train_split": "", "validation_split": "", "test_split": "", **data}
    return types.SimpleNamespace(deal=deal, seed=seed, ignore_splits=ignore_splits, data=_Data(words))


class _Data(dict):
    __getattr__ = dict.__getitem__


def test_classes_in_the_order_asked_for_and_images_without_a_label():
    records = FakeRecords(label=["b"] * 6 + ["a"] * 5 + [""] * 2)
    assert classes_of(records)[0] == ["b", "a"]
    names, labels = classes_of(records, ("a", "b"))
    assert names == ["a", "b"] and labels.tolist() == [1] * 6 + [0] * 5 + [-1] * 2


@pytest.mark.parametrize("labels, classes, said", [
    (["a"] * 9 + ["b"] * 9 + ["typo"], ("a", "b"), "1 images in there have the labels 'typo' [(]18.png[)]"),
    (["a"] * 9 + ["b"] * 4, (), "of 'b' [(]4[)] there are fewer than 5 labelled images in there"),
    (["a"] * 9, (), "1 class but a diagnosis needs at least 2"),
    (["a"] * 9 + ["b"] * 9, ("a", "b", "c"), "of 'c' [(]0[)] there are fewer")])
def test_labels_that_do_not_fit_are_refused(labels, classes, said):
    with pytest.raises(ValueError, match=said):
        classes_of(FakeRecords(label=labels), classes)


def test_splits_that_the_data_name_are_taken_else_they_are_dealt():
    label, split = ["a", "b"] * 30, ["Train"] * 40 + ["valid"] * 10 + ["test"] * 10
    records = FakeRecords(label=label, split=split)
    names, labels = classes_of(records)
    sides = sides_of(records, settings(), labels, names)
    assert [side.sum() for side in sides] == [40, 10, 10]
    assert [side.sum() for side in sides_of(records, settings(ignore_splits=True), labels, names)] == [36, 12, 12]
    sides = sides_of(FakeRecords(label=label), settings(), labels, names)
    assert [side.sum() for side in sides] == [36, 12, 12]
    with pytest.raises(ValueError, match="`data.train_split` is 'big' but the data have the splits Train, valid, test"):
        sides_of(records, settings(train_split="big", test_split="test"), labels, names)
    with pytest.raises(ValueError, match="the first and the last must be named"):
        sides_of(records, settings(train_split="Train"), labels, names)
    with pytest.raises(ValueError, match="no split may be two of them"):
        sides_of(records, settings(train_split="test", test_split="test"), labels, names)
    with pytest.raises(ValueError, match="`deal` is .0, 0.5. but must be three numbers"):
        sides_of(FakeRecords(label=label), settings(deal=(0, 0.5)), labels, names)


def test_the_class_that_is_too_few_is_told_by_its_name():
    records = FakeRecords(label=["a"] * 20 + ["b"] * 6, case=[f"p{i}" for i in range(20)] + ["q1", "q2"] * 3)
    names, labels = classes_of(records)
    with pytest.raises(ValueError, match="class 'b' comes from 2 cases"):
        sides_of(records, settings(), labels, names)


def test_units_are_cases_and_what_has_none_is_a_unit_of_its_own():
    rows = np.arange(5)
    split = types.SimpleNamespace(rows=rows, column=lambda name: np.array([3, 3, -1, 4, -1]))
    units = units_of(split)
    assert units[0] == units[1] and len(set(units.tolist())) == 4
    assert len(set(units_of(types.SimpleNamespace(rows=rows, column=lambda name: None)).tolist())) == 5
