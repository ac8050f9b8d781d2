"""Writes every set of $SUITE_DATA to build/data/<set>: `make data`."""

import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

# What is typed after `python -m tfrecords.write`; {set} is the set's folder.
WRITE = {
    "bccd": [
        "--source=voc:{set}/bccd.zip",
        "--splits=train:ImageSets/Main/train.txt,val:ImageSets/Main/val.txt,test:ImageSets/Main/test.txt"],
    "cifar10_subset": [
        "--images={set}/cifar10_subset.zip", r"--pattern=(?P<split>train|test)/(?P<label>\w+)/\d+\.jpg"],
    "fashion_mnist": ["--npz={set}/fashion_mnist.npz"],
    "magnetic_tile": [
        "--images={set}/magnetic_tile.zip", r"--pattern=MT_(?P<label>\w+)/Imgs/", "--masks=.png"],
    "orl_faces": [r"--images={set}/orl_faces.zip", r"--pattern=s(?P<identity>\d+)/\d+\.png"],
    "omniglot_small1": [
        r"--images={set}/images_background_small1.zip", "--images_split=train",
        r"--pattern=(?P<identity>[^/]+/character\d+)/\d+_(?P<camera>\d+)\.png",
        r"--source=omniglot_runs:{set}/all_runs.zip"],
    "pneumonia_mnist": ["--npz={set}/pneumoniamnist.npz"],
    "vehicle_reid": [
        "--images={set}/vehicle_reid.zip", "--splits=train:train.txt,val:val.txt,test:test.txt",
        r"--pattern=(?P<identity>(?P<label>[a-z]+)_\d+)_cam(?P<camera>\d)\.jpg"],
}


def main():
    data = pathlib.Path(os.environ.get("SUITE_DATA") or ROOT.parent / "shared" / "data")
    if not data.is_absolute():
        data = ROOT / data
    if not data.is_dir():
        print(f"skipped: no folder {data}; set SUITE_DATA to where the sets lie.")
        return
    for folder in sorted(path for path in data.iterdir() if path.is_dir()):
        out = ROOT / "build" / "data" / folder.name
        if folder.name not in WRITE:
            print(f"{folder.name}: skipped, no source reads this set yet.")
        elif _is_current(out / "manifest.json"):
            print(f"{folder.name}: already written to build/data/{folder.name}.")
        else:
            words = [word.replace("{set}", str(folder)) for word in WRITE[folder.name]]
            done = subprocess.run([sys.executable, "-m", "tfrecords.write", *words, f"--out={out}",
                                   "--overwrite"], cwd=ROOT)
            if done.returncode:
                sys.exit(done.returncode)


def _is_current(manifest):
    """Whether there are data, of this suite's schema version."""
    if not manifest.exists():
        return False
    from tfrecords.schema import VERSION  # takes seconds: TensorFlow
    try:
        return json.loads(manifest.read_text()).get("version") == VERSION
    except ValueError:
        return False


if __name__ == "__main__":
    main()
