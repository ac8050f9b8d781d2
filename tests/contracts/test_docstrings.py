"""Every method's docstring: what it takes is named, and how it is called, what it returns, refuses and comes from."""

import inspect
import re

import pytest

from keras_apps.build import method_class, methods
from keras_apps.catalog import folders

EVERY = [(folder, name) for folder in folders() for name in methods(folder)]
PUBLISHED = [pair for pair in EVERY if pair[0] in ("heads", "poolings") or pair[0].startswith("losses/")]


def parameters(folder, name):
    found = method_class(folder, name)
    return list(inspect.signature(found.__init__).parameters)[1:] if "__init__" in vars(found) else []


@pytest.mark.parametrize("folder, name", EVERY)
def test_every_argument_is_named(folder, name):
    words = set(re.findall(r"\w+", method_class(folder, name).__doc__))
    if folder != "apps":  # all take the same two, told in app.py
        assert not set(parameters(folder, name)) - words


@pytest.mark.parametrize("folder, name", PUBLISHED)
def test_the_parts_stand_in_order(folder, name):
    parts = ["Args:", "Call:", "Returns:", "Raises:", "Source:"]
    if not parameters(folder, name):
        parts = ["Call:", "Returns:", "Source:"]
    found = re.findall(r"^ +(\w+:)", method_class(folder, name).__doc__, re.MULTILINE)
    assert [part for part in found if part in parts] == parts
