"""Every method's docstring: what it takes is named, and how it is called, what it returns, refuses and comes from."""

import inspect

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
    words = set(inspect.getdoc(method_class(folder, name)).replace(":", " ").replace(",", " ").split())
    if folder != "apps":  # all take the same two, told in app.py
        assert not set(parameters(folder, name)) - words


@pytest.mark.parametrize("folder, name", PUBLISHED)
def test_the_parts_stand_in_order(folder, name):
    lines = inspect.getdoc(method_class(folder, name)).splitlines()
    parts = ["Args:", "Call:", "Returns:", "Raises:", "Source:"]
    if not parameters(folder, name):
        parts = ["Call:", "Returns:", "Source:"]
    found = [line.split()[0] for line in lines if line.split() and line.split()[0] in parts]
    assert found == parts
    assert lines[0].endswith((".", ":")) or ": " in lines[0], "the first line says what it is"
