"""Which rows are trained on: names, hashes, splits, few images; and what is refused."""

import types

import numpy as np
import pytest

from keras_apps.config import base
from keras_apps.splits import Split, dealt, parse_identities, select


class Collection:
    """Columns without images."""

    directory = "here"

    def __init__(self, identities, names, split=None, split_names=(), column="identity"):
        self.columns = {column: np.asarray(identities)}
        self.texts = {column: list(names), "split": list(split_names)}
        if split is not None:
            self.columns["split"] = np.asarray(split)
        self.count = len(identities)

    def has(self, name):
        return name in self.columns

    def column(self, name):
        return self.columns[name]

    def names(self, name):
        return self.texts[name]


def chosen(collection, labels=0, seed=0, **data):
    config = base()
    config.update({"labels": labels, "seed": seed})
    config.data.update(data)
    return select(types.SimpleNamespace(records=collection), config)


def people(count=10, each=6, **words):
    return Collection(np.repeat(np.arange(count), each), [str(i + 1) for i in range(count)], **words)


def test_named_identities_are_trained_and_all_others_held_out():
    labels, splits, names = chosen(people(), train_identities="1-3,7")
    assert names == ["1", "2", "3", "7"]
    np.testing.assert_array_equal(labels[:18], np.repeat([0, 1, 2], 6))
    np.testing.assert_array_equal(labels[36:42], 3)
    assert (labels[18:36] == -1).all() and (labels[42:] == -1).all()
    assert set(splits["test"].identities) == {3, 4, 5, 7, 8, 9} and splits["test"].unseen


def test_holdout_is_a_share_of_the_identities_by_name():
    labels, splits, names = chosen(people(), holdout=0.4)
    assert len(names) == 6 and len(set(splits["test"].identities)) == 4
    shuffled = np.random.default_rng(0).permutation(60)
    collection = people()
    collection.columns["identity"] = collection.columns["identity"][shuffled]
    assert chosen(collection, holdout=0.4)[2] == names


def test_a_large_test_set_is_cut_by_whole_identities():
    _, splits, _ = chosen(people(), train_identities="1-2", test_images=20)
    assert len(splits["test"].rows) == 18 and set(np.bincount(splits["test"].identities)) == {0, 6}


def episodes(cases=6, ways=4, loose=0):
    """Cases of `ways` identities, a gallery and a query image each; behind two trained identities, `loose` others."""
    count = cases * ways
    identities = np.r_[np.repeat(np.arange(count), 2), np.repeat(np.arange(count, count + 2 + loose), 3)]
    others = len(identities) - 2 * count
    collection = Collection(identities, [str(i + 1) for i in range(count + 2 + loose)])
    collection.columns["case"] = np.r_[np.repeat(np.arange(cases), 2 * ways), np.full(others, -1)]
    collection.columns["role"] = np.r_[np.tile([0, 1], count), np.full(others, -1)]
    collection.texts.update(case=[f"run{i}" for i in range(cases)], role=["gallery", "query"])
    return collection, f"{count + 1}-{count + 2}"


@pytest.mark.parametrize("most, kept", [(1000, 6), (47, 5), (20, 2), (8, 1), (3, 1)])
def test_a_large_test_set_of_episodes_is_cut_by_whole_cases(most, kept):
    collection, trained = episodes()
    _, splits, _ = chosen(collection, train_identities=trained, test_images=most)
    images = np.bincount(collection.columns["case"][splits["test"].rows], minlength=6)
    assert sorted(images) == [0] * (6 - kept) + [8] * kept


def test_rows_beside_the_episodes_are_cut_by_whole_identities():
    collection, trained = episodes(loose=8)
    rows = chosen(collection, train_identities=trained, test_images=40)[1]["test"].rows
    cases, identities = collection.columns["case"][rows], collection.columns["identity"][rows]
    assert set(np.bincount(cases[cases >= 0])) <= {0, 8} and set(np.bincount(identities[cases < 0])) <= {0, 3}
    assert 30 <= len(rows) <= 40 and (cases >= 0).any() and (cases < 0).any()


def test_without_roles_a_case_is_no_episode():
    collection, trained = episodes()
    del collection.columns["role"]
    rows = chosen(collection, train_identities=trained, test_images=20)[1]["test"].rows
    assert len(rows) == 20 and set(np.bincount(collection.columns["identity"][rows])) == {0, 2}


def test_with_too_few_identities_images_are_held_out_instead():
    labels, splits, names = chosen(people(count=3), holdout=0.4)
    assert names == ["1", "2", "3"] and not splits["test"].unseen
    assert len(splits["test"].rows) == 6 and not set(splits["test"].rows) & set(np.flatnonzero(labels >= 0))


def test_three_images_are_too_few_to_hold_any_back():
    labels, splits, _ = chosen(people(count=3, each=3), holdout=0.4)
    assert (labels >= 0).all() and set(splits) == {"train"}


def test_labels_keeps_that_many_images_an_identity_and_the_rest_is_not_tested_on():
    labels, splits, _ = chosen(people(), train_identities="1-5", labels=2)
    np.testing.assert_array_equal(np.bincount(labels[labels >= 0]), [2] * 5)
    assert splits["test"].rows.min() >= 30
    assert (chosen(people(), train_identities="1-5", labels=2, seed=1)[0] != labels).any()


def test_train_split():
    collection = Collection([0, 0, 1, 1, 2, 2, 3, 3], "abcd", split=[0, 0, 0, 0, 1, 1, 1, 1],
                            split_names=["train", "oneshot"])
    labels, splits, names = chosen(collection, train_split="train")
    assert names == ["a", "b"] and list(splits["test"].rows) == [4, 5, 6, 7] and splits["test"].unseen
    with pytest.raises(ValueError, match="`data.train_split` is 'trian' but the data have the splits"):
        chosen(collection, train_split="trian")
    assert list(splits["train"].rows) == [0, 1, 2, 3] and not splits["train"].unseen


def test_splits_to_choose_by_and_to_judge_on():
    collection = Collection(np.repeat(np.arange(8), 2), "abcdefgh", split=np.repeat([0, 1, 2, 3], 4),
                            split_names=["train", "val", "test", "spare"])
    labels, splits, names = chosen(collection, train_split="train", validation_split="val", test_split="test")
    assert names == ["a", "b"] and {name: list(split.rows) for name, split in splits.items()} == {
        "train": [0, 1, 2, 3], "validation": [4, 5, 6, 7], "test": [8, 9, 10, 11]}
    assert splits["validation"].unseen and splits["test"].unseen
    _, splits, names = chosen(collection, train_identities="a,b,g,h", validation_split="val")
    assert len(names) == 4 and list(splits["test"].rows) == [8, 9, 10, 11]
    for key, text in (("test_split", "tset"), ("validation_split", "vla")):
        with pytest.raises(ValueError, match=f"`data.{key}` is '{text}' but the data have the splits"):
            chosen(collection, train_split="train", **{key: text})
    with pytest.raises(ValueError, match="`data.test_split` is 'train' but all its rows are trained on or chosen by"):
        chosen(collection, train_split="train", test_split="train")


def test_rows_of_splits_can_be_chosen_and_joined():
    _, splits, _ = chosen(people(), train_identities="1-5", validation=0.4)
    test, few = splits["test"], splits["test"].only(np.arange(30) % 3 == 0)
    np.testing.assert_array_equal(few.rows, test.rows[::3])
    np.testing.assert_array_equal(few.identities, test.identities[::3])
    both = few.joined(splits["validation"])
    assert both.unseen and len(both.rows) == len(few.rows) + len(splits["validation"].rows)
    assert not both.joined(splits["train"]).unseen and both.names == test.names


def test_label_serves_as_identity_where_there_is_none():
    assert chosen(people(column="label"), train_identities="1-2")[2] == ["1", "2"]


@pytest.mark.parametrize("collection, data, match", [
    (people(count=1), {"holdout": 0.4}, "have 1 identity but learning to tell apart needs at least 2"),
    (people(), {"train_identities": "1-3,kat"}, "names 'kat' but the data have no such identity, only such as 1, 2"),
    (people(), {"train_identities": "50-60"}, "no identity in that range"),
    (people(), {"train_identities": "4"}, "1 identities are left to train on"),
])
def test_refusals(collection, data, match):
    with pytest.raises(ValueError, match=match):
        chosen(collection, **data)


def test_identities_with_a_dash_in_their_name():
    assert parse_identities("a-b, 2-3", ["a-b", "1", "2", "3"]) == [0, 2, 3]


def kept_back(collection, **data):
    """(trained rows, validation rows, test rows) as sets."""
    labels, splits, _ = chosen(collection, **data)
    return [set(np.flatnonzero(labels >= 0)), *(set(splits[name].rows) for name in ("validation", "test"))]


@pytest.mark.parametrize("data", [{"holdout": 0.4}, {"train_identities": "1-6"}, {"train_split": "train"}])
def test_validation_is_a_share_of_the_identities_left_to_train_on(data):
    collection = people(split=np.repeat([0, 1], [36, 24]), split_names=["train", "test"])
    train, validation, test = kept_back(collection, validation=1 / 3, **data)
    identities = collection.column("identity")
    sides = [set(identities[list(rows)]) for rows in (train, validation, test)]
    assert [len(side) for side in sides] == [4, 2, 4] and len(set.union(*sides)) == 10, "no identity on two sides"
    assert len(train) + len(validation) + len(test) == 60, "all their images, whole"
    assert kept_back(collection, **data, validation=1 / 3) == [train, validation, test]
    without = chosen(collection, **data)
    assert set(without[1]["test"].rows) == test and "validation" not in without[1], "the test is the same with it"
    assert set(np.flatnonzero(without[0] >= 0)) == train | validation


def test_validation_is_chosen_by_name_whatever_the_order_and_the_seed():
    def names(collection, **words):
        return {collection.names("identity")[i] for i in chosen(collection, holdout=0.4, validation=1 / 3,
                                                                **words)[1]["validation"].identities}
    collection, shuffled = people(), people()
    shuffled.columns["identity"] = np.random.default_rng(0).permutation(shuffled.columns["identity"])
    assert names(collection) == names(shuffled) == names(collection, seed=3)


def test_validation_takes_all_images_of_its_identities_and_labels_bounds_the_rest():
    labels, splits, names = chosen(people(), holdout=0.4, validation=1 / 3, labels=2)
    np.testing.assert_array_equal(np.bincount(labels[labels >= 0]), [2] * 4)
    assert np.bincount(splits["validation"].identities).max() == 6 and len(names) == 4
    assert splits["validation"].unseen and not set(splits["validation"].rows) & set(np.flatnonzero(labels >= 0))


def test_a_large_validation_set_is_cut_by_whole_identities():
    _, splits, _ = chosen(people(), train_identities="1-8", validation=0.5, test_images=15)
    assert set(np.bincount(splits["validation"].identities)) == {0, 6} and len(splits["validation"].rows) == 12


def test_where_images_are_held_out_validation_holds_back_whole_identities():
    """Four identities are too few to hold two back twice; then images are tested, identities validated."""
    train, validation, test = kept_back(people(count=4), holdout=0.1, validation=0.5)
    identities = np.repeat(np.arange(4), 6)
    assert not set(identities[list(train)]) & set(identities[list(validation)])
    assert not (train | validation) & test


@pytest.mark.parametrize("collection, data", [
    (people(count=4), {"train_identities": "1-3", "validation": 0.4}),
    (people(), {"holdout": 0.4, "validation": 0.1}),        # rounds to one of six
    (people(), {"holdout": 0.4, "validation": 0.9}),        # leaves one
    (people(each=1), {"train_identities": "1-6", "validation": 0.5}),
])
def test_a_validation_that_could_judge_nothing_is_refused(collection, data):
    with pytest.raises(ValueError, match=rf"`data.validation` is {data['validation']} but of the \d+ identities to "
                                         "train on each side needs 2 with 2 images"):
        chosen(collection, **data)


# ---- images instead of pairs

def deal(collection, **data):
    config = base()
    config.data.update(data)
    train, validation, test = dealt(collection, config.data)
    assert not (train & validation).any() and not (train & test).any() and not (validation & test).any()
    return [np.flatnonzero(mask).tolist() for mask in (train, validation, test)]


def named(*names):
    """Rows of splits, two of each in turn."""
    order = sorted(set(names))
    return Collection(np.zeros(2 * len(names), int), ["a"], split=np.repeat([order.index(name) for name in names], 2),
                      split_names=order, column="label")


def test_named_splits_are_dealt_as_they_are_named():
    data = named("train", "val", "test", "spare")
    words = {"train_split": "train", "validation_split": "val", "test_split": "test"}
    assert deal(data, **words) == [[0, 1], [2, 3], [4, 5]]
    assert deal(data, **{**words, "test_split": ""}) == [[0, 1], [2, 3], [4, 5, 6, 7]], "all that is in no named split"
    assert deal(data, train_split="train") == [[0, 1], [], [2, 3, 4, 5, 6, 7]]
    assert deal(data, test_split="test") == [[0, 1, 2, 3, 6, 7], [], [4, 5]]
    assert deal(data, test_split="test", validation_split="val") == [[0, 1, 6, 7], [2, 3], [4, 5]]
    for key in words:
        with pytest.raises(ValueError, match=f"`data.{key}` is 'vla' but the data have the splits"):
            deal(data, **{**words, key: "vla"})


def images(count, **columns):
    found = Collection(np.zeros(count, int), ["a"], column="label")
    found.columns.update({name: np.asarray(values) for name, values in columns.items()})
    found.texts.update({name: [f"{name} {value}" for value in range(count)] for name in columns})
    return found


def test_shares_of_images_are_dealt_by_hash_whatever_else_there_is():
    train, validation, test = deal(images(2000), holdout=0.25, validation=0.2)
    assert len(test) == pytest.approx(500, abs=60) and len(validation) == pytest.approx(300, abs=50)
    assert sorted(train + validation + test) == list(range(2000))
    assert deal(images(2000), holdout=0.25)[2] == test, "the test is the same with it"
    assert deal(images(1000), holdout=0.25, validation=0.2)[2] == [row for row in test if row < 1000]
    assert deal(images(50)) == [list(range(50)), [], []]
    data = named(*["train"] * 200)
    train, validation, test = deal(data, train_split="train", validation=0.2)
    assert test == [] and len(validation) == pytest.approx(80, abs=25) and len(train) + len(validation) == 400


def test_of_few_images_one_is_held_back_and_one_is_trained_on():
    for count in (2, 3, 5):
        for share in (0.01, 0.1, 0.99):
            train, _, test = deal(images(count), holdout=share)
            assert train and test, (count, share)
            train, validation, test = deal(images(count), holdout=share, validation=share)
            assert train and test and bool(validation) == (count > 2 and share < 0.9), (count, share)
        cases = images(4 * count, case=np.repeat(np.arange(count), 4))
        train, _, test = deal(cases, holdout=0.01)
        assert len(test) == 4 and len(train) == 4 * (count - 1), "a whole one"
    assert deal(images(4, case=[0] * 4), holdout=0.9) == [[0, 1, 2, 3], [], []], "one cannot be parted"
    assert deal(images(3), holdout=0.0)[2] == []


@pytest.mark.parametrize("column", ["track", "case"])
def test_a_track_or_case_lies_on_one_side(column):
    groups = np.repeat(np.arange(200), 5)
    data = images(1000, **{column: groups})
    sides = deal(data, holdout=0.3, validation=0.2)
    for side in sides:
        others = set(range(1000)) - set(side)
        assert side and not set(groups[side]) & set(groups[list(others)])
    assert len(sides[2]) == pytest.approx(300, abs=80)


def test_images_of_no_track_are_dealt_each_by_itself_or_by_their_case():
    track = np.where(np.arange(1000) < 500, np.arange(1000) // 5, -1)
    _, _, test = deal(images(1000, track=track), holdout=0.3)
    alone = [row for row in test if row >= 500]
    assert len(alone) == pytest.approx(150, abs=40) and len({row // 5 for row in alone}) > 60, "of a hundred fives"
    case = np.arange(1000) // 10
    _, _, test = deal(images(1000, track=track, case=case), holdout=0.3)
    for row in test:
        assert {other for other in range(1000) if case[other] == case[row]} <= set(test), "also where it has two tracks"


def test_tracks_are_dealt_by_their_names_not_their_numbers():
    """Written again with one more film, the films that were there lie where they lay."""
    groups = np.repeat(np.arange(100), 3)
    one, more = images(300, track=groups), images(303, track=np.r_[groups + 1, 0, 0, 0])
    one.texts["track"] = [f"film {number:03d}" for number in range(100)]
    more.texts["track"] = ["a new one", *one.texts["track"]]
    assert [row for row in deal(more, holdout=0.3)[2] if row < 300] == deal(one, holdout=0.3)[2]


def test_a_spread_is_drawn_once_and_for_all_and_says_what_it_left_out():
    labels = np.tile(np.arange(10), 60)
    split = Split(None, np.arange(600) + 7, labels, list("abcdefghij"), True, 5)
    few = split.spread(100)
    assert len(few.rows) == len(set(few.rows)) == 100 and (np.diff(few.rows) > 0).all()
    np.testing.assert_array_equal(few.identities, (few.rows - 7) % 10)
    assert few.left_out == 505 and few.unseen and few.names == split.names
    np.testing.assert_array_equal(split.spread(100).rows, few.rows)
    assert np.bincount(few.identities, minlength=10).min() >= 4, "not every sixth: of classes in turn some only"
    assert split.spread(600) is split and split.spread(10_000) is split
