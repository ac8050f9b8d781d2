"""A small data folder and a finished run on it, once a test file."""

import shutil

import pytest

from tests.keras_apps.runs import run_train, write_data


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained(data):
    """A finished run of which nothing was exported."""
    run_train(data, data.parent / "run")
    return data.parent / "run"


@pytest.fixture
def workdir(trained, tmp_path):
    """A copy of it that a test may change."""
    return shutil.copytree(trained, tmp_path / "run")
