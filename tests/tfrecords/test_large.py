"""A hundred thousand small images are written and read in the memory that ten thousand take."""

import json
import pathlib
import subprocess
import sys
import textwrap

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHILD = textwrap.dedent("""
    import functools, json, resource, sys
    import numpy as np
    from tfrecords.batch import Batches, Images, Table
    from tfrecords.decode import Decoder
    from tfrecords.read import Records
    from tfrecords.samplers.shuffle import ShuffleSampler
    from tfrecords.schema import Item
    from tfrecords.write import write

    def image(number):
        return np.random.default_rng(number).integers(0, 256, (12, 12, 3), dtype=np.uint8)

    class Numbered:
        description = {"source": "numbered"}
        def __len__(self):
            return int(sys.argv[1])
        def __iter__(self):
            for number in range(len(self)):
                yield Item(f"{number}.png", functools.partial(image, number), {"identity": str(number // 10)})

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024     # MB

    manifest = write([Numbered()], sys.argv[2])
    written = peak()
    records = Records(sys.argv[2])
    table = Table(np.arange(len(records)), records.column("identity"))
    batches = Batches(Images(records, Decoder.of(records.manifest, 12), cache_mb=1), table, ShuffleSampler(200))
    rows = []
    for batch in batches.dataset(0).take(len(records) // 200).as_numpy_iterator():
        rows.append(batch["index"])
        one = batch["index"][0]
        assert (np.rint(batch["image"][0] * 255) == image(int(records.column("index")[one]))).all()
    assert (np.sort(np.concatenate(rows)) == np.arange(len(records))).all()
    print(json.dumps({"shards": len(manifest["shards"]), "written": written, "read": peak()}))
""")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_collection(tmp_path):
    found = {}
    for count in (10_000, 100_000):
        words = [sys.executable, "-c", CHILD, str(count), str(tmp_path / str(count))]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        found[count] = json.loads(done.stdout.splitlines()[-1])
    print(found)
    growth = {what: found[100_000][what] - found[10_000][what] for what in ("written", "read")}
    # Pixels would be 39 MB of bytes and 156 MB as they are decoded; what stays is some numbers a row.
    assert growth["written"] < 60 and growth["read"] < 90, found
