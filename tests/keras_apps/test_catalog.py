import subprocess
import sys

from keras_apps.build import ROOT, methods
from keras_apps.catalog import entries, folders


def test_it_walks_every_folder_of_methods():
    found = folders()
    assert {"losses/metric", "heads", "poolings", "backbones", "optimizers", "schedules", "apps", "tfrecords/samplers",
            "tfrecords/augment", "tfrecords/mixing", "tfrecords/sources"} == set(found)
    for folder in found:
        assert len(list(entries(folder))) == len(methods(folder)) > 0


def test_entries_can_be_pasted_into_a_config():
    call, line = next(entry for entry in entries("losses/metric") if entry[0].startswith("triplet("))
    assert call.startswith("triplet(margin=0.2, mining='batch_hard'") and line.startswith("Triplet loss")
    assert dict(entries("poolings"))["average()"], "arguments of a Keras base class are not the method's"


def test_the_command_prints_one_folder():
    done = subprocess.run([sys.executable, "-m", "keras_apps.catalog", "--folder=heads"], cwd=ROOT, capture_output=True,
                          text=True)
    assert done.returncode == 0 and "arcface(" in done.stdout and "small_cnn" not in done.stdout
