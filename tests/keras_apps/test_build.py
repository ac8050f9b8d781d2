"""Methods by name: parsing, facts, neighbours."""

import pytest

from keras_apps.build import build, method_class, methods, parse
from keras_apps.catalog import folders


def test_parse_reads_names_with_literal_keywords():
    assert parse("circle") == ("circle", {})
    assert parse("circle(scale=80, mode='a', widths=(1, 2))") == (
        "circle", {"scale": 80, "mode": "a", "widths": (1, 2)})


@pytest.mark.parametrize("text", ["circle(80)", "a.b(c=1)", "circle(scale=open('x'))", "1 + 1", "", "circle(**{})",
                                  "__import__('os').system(x=1)"])
def test_parse_refuses_everything_else(text):
    with pytest.raises(ValueError, match="is not a method"):
        parse(text)


def test_facts_are_passed_where_asked_for():
    sampler = build("tfrecords/samplers", "pk(images=2)", batch=8, classes=3)
    assert (sampler.batch, sampler.group) == (8, 2)


def test_unknown_method_names_its_neighbours():
    with pytest.raises(ValueError, match="`triplett` is not a method of losses/metric; did you mean triplet"):
        build("losses/metric", "triplett()")


def test_unknown_hyper_parameter_names_its_neighbours():
    message = "`margn` is not a hyper-parameter of losses/metric/triplet; did you mean margin"
    with pytest.raises(ValueError, match=message):
        build("losses/metric", "triplet(margn=0.3)")


def test_facts_cannot_be_overridden_by_text():
    with pytest.raises(ValueError, match="`batch` is not a hyper-parameter"):
        build("tfrecords/samplers", "pk(batch=3)", batch=8)


def test_unknown_folder():
    with pytest.raises(ValueError, match="not a folder of methods"):
        methods("losses/nothing")


def test_every_method_file_has_one_public_class():
    for folder in folders():
        for name in methods(folder):
            assert method_class(folder, name).__doc__, f"{folder}/{name} has no docstring"
