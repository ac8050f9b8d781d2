import os
import pathlib
import zipfile

import pytest

from tests.tfrecords.sources.contract import check, made
from tfrecords.sources.omniglot_runs import OmniglotRunsSource

ROOT = pathlib.Path(__file__).resolve().parents[3]
RUNS = pathlib.Path(os.environ.get("SUITE_DATA", ROOT.parent / "shared" / "data")) / "omniglot_small1" / "all_runs.zip"
IMAGES = [f"run01/{kind}.png" for kind in ("test/item01", "test/item02", "training/class01", "training/class02",
                                           "training/class03")]
LINES = "run01/test/item01.png run01/training/class02.png\nrun01/test/item02.png run01/training/class01.png\n\n"


def run(root, lines):
    return made(root, dict.fromkeys(IMAGES) | {"run01/class_labels.txt": lines})


@pytest.mark.parametrize("around", ["", "all_runs/"])
def test_columns_of_a_run(tmp_path, around):
    run(tmp_path / "d" / around, LINES)
    items = check(OmniglotRunsSource(tmp_path / "d"))
    found = {item.path.removeprefix(around): (item.columns["role"], item.columns["identity"]) for item in items}
    assert found == {
        "run01/test/item01.png": ("query", "run01/class02"),
        "run01/test/item02.png": ("query", "run01/class01"),
        **{f"run01/training/class0{i}.png": ("gallery", f"run01/class0{i}") for i in (1, 2, 3)},
    }
    assert all(item.columns["case"] == "run01" and item.columns["split"] == "oneshot" for item in items)
    assert items[0].read() == b"run01/training/class01.png"


@pytest.mark.parametrize("lines", ["run01/test/item01.png\n", "run01/test/item01.png run01/training/class09.png\n"])
def test_a_faulty_list_is_refused(tmp_path, lines):
    with pytest.raises(ValueError, match="line 1 of `run01/class_labels.txt`"):
        OmniglotRunsSource(run(tmp_path, lines))


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no class_labels.txt"):
        OmniglotRunsSource(tmp_path)


@pytest.mark.skipif(not RUNS.exists(), reason="the Omniglot runs are not in SUITE_DATA")
def test_the_official_runs():
    items = list(OmniglotRunsSource(RUNS))
    by_role = {role: [item for item in items if item.columns["role"] == role] for role in ("query", "gallery")}
    assert {role: len(found) for role, found in by_role.items()} == {"query": 400, "gallery": 400}
    assert len({item.columns["case"] for item in items}) == 20
    assert {item.columns["identity"] for item in by_role["query"]} == {
        item.columns["identity"] for item in by_role["gallery"]
    }
    with zipfile.ZipFile(RUNS) as archive:
        assert by_role["query"][0].read() == archive.read(by_role["query"][0].path)
