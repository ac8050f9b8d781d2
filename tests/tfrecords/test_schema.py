import pytest
import tensorflow as tf

from tfrecords import schema

ROW = {"image": b"\x89PNG\x00\xff", "height": 2, "width": 3, "channels": 1, "index": 7, "path": "a/b.png"}


def test_every_feature_survives():
    row = {
        **ROW,
        **{column: i for i, column in enumerate(schema.CATEGORIES)},
        "label": (3, 0, 5),
        "frame": 2**40,
        "target": -2.5,
        "quality": 0.25,
        "bbox": (1.5, -2.0, 30.0, 40.0),
        "landmarks": tuple(float(i) for i in range(10)),
        "mask": b"\x89PNG\xff",
        "name": "Ångström",
    }
    assert set(row) == set(schema.REQUIRED + schema.COLUMNS)
    assert schema.parse(schema.serialize(row)) == row


def test_absent_columns_are_not_written():
    example = tf.train.Example.FromString(schema.serialize(ROW))
    assert sorted(example.features.feature) == sorted(schema.REQUIRED)


def test_bytes_do_not_depend_on_the_order_of_the_row():
    assert schema.serialize(ROW) == schema.serialize(dict(reversed(ROW.items())))


def test_file_names_keep_bytes_that_are_no_text():
    path = b"a\xff.png".decode("utf-8", "surrogateescape")
    assert schema.parse(schema.serialize({**ROW, "path": path}))["path"] == path


@pytest.mark.parametrize("row", [{**ROW, "colour": 1}, {key: ROW[key] for key in ROW if key != "path"}])
def test_serialize_refuses_other_features(row):
    with pytest.raises(ValueError, match="colour|path"):
        schema.serialize(row)


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff",
        b"",
        schema.serialize(ROW)[:-4],
        tf.train.Example(
            features=tf.train.Features(feature={"other": tf.train.Feature()})
        ).SerializeToString(),
    ],
)
def test_parse_refuses_what_is_no_record(data):
    with pytest.raises(ValueError, match="record|Example"):
        schema.parse(data)


def test_settle_brings_columns_to_stored_form():
    assert schema.settle({"label": 3, "frame": "0012", "role": "none", "camera": "", "name": "x", "target": "1e1",
                          "bbox": "1, 2;3 4.5", "landmarks": "", "true_label": "b|a|b|", "quality": ""}) == {
        "label": "3",
        "frame": 12,
        "name": "x",
        "target": 10.0,
        "bbox": (1.0, 2.0, 3.0, 4.5),
        "true_label": ("b", "a"),
    }
    assert schema.settle({"label": "a|", "bbox": (0, 0, 1, 1)}) == {"label": "a", "bbox": (0.0, 0.0, 1.0, 1.0)}


@pytest.mark.parametrize(
    "columns, text",
    [
        ({"colour": "red"}, "`colour` is not a column; the columns are label, true_label, identity"),
        ({"role": "probe"}, "`role` is 'probe' but must be one of query, gallery, train, none"),
        ({"frame": "x1"}, "`frame` is 'x1' but must be a whole number"),
        ({"frame": "-3"}, "whole number"),
        ({"frame": str(2**63)}, "whole number"),
        ({"frame": "9" * 5000}, "`frame` is '9999.*'... of 5,000 characters but may have 1,000"),
        ({"mask": "a.png"}, "`mask` is not a column"),
        ({"target": "old"}, "`target` is 'old' but must be a finite number"),
        ({"quality": "nan"}, "`quality` is 'nan' but must be a finite"),
        ({"target": "1e39"}, "finite number of 32 bits"),
        ({"bbox": "1 2 3"}, "`bbox` has 3 numbers but must have 4"),
        ({"bbox": (0, 0, 5, 0)}, "its width and height .* must be above 0"),
        ({"landmarks": "1 2 3 4 5 6 7 8 9 x"}, "`landmarks` is 'x' but must be a finite number"),
    ],
)
def test_settle_refuses(columns, text):
    with pytest.raises(ValueError, match=text):
        schema.settle(columns)


def test_pattern_groups_are_columns():
    assert set(schema.COLUMNS) - set(schema.PATTERN_GROUPS) == {"bbox", "landmarks", "mask"}
