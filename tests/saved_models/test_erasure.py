"""Erasing: gone from every file, however old or half removed, and found where it is not."""

import numpy as np
import pytest

from saved_models import erasure, gallery


@pytest.fixture
def built(tmp_path, version, png):
    """A gallery of two versions: ann and bob, then eve as well."""
    entries = [("ann", "ann/0", png(1)), ("bob", "bob/0", png(2))]
    gallery.build(version, entries, str(tmp_path), k=2, check=False)
    return gallery.enrol(str(tmp_path / "gallery" / "1"), [("eve", "eve/0", png(3))], check=False)


def test_the_vectors_of_all_versions_are_gone(built, tmp_path):
    vectors = erasure.vectors_of(str(tmp_path), "gallery", ["ann"])
    assert vectors.shape == (1, 4), "the same in both versions"
    path, proof = erasure.erase(built, ["ann"], check=False)
    assert proof["vectors"] == 1 and proof["found"] == [] and proof["versions"] == [3]
    assert sorted(gallery.load_entries(path)[1]) == ["bob", "eve"]


def test_what_is_left_is_found_wherever_it_lies(built, tmp_path, monkeypatch):
    vectors = erasure.vectors_of(str(tmp_path), "gallery", ["ann"], ["eve/0"])
    assert len(vectors) == 2
    hidden = tmp_path / "gallery" / ".removing-9-9"
    hidden.mkdir()
    noise = np.random.default_rng(0).bytes(100)
    (hidden / "part").write_bytes(noise + vectors[1].tobytes() + noise)
    (hidden / "other").write_bytes(noise + vectors[1].tobytes()[:-1])
    for block in (16, 100, 2**20):      # a vector may lie across two blocks
        monkeypatch.setattr(erasure, "BLOCK", block)
        found = erasure.proof(str(tmp_path), "gallery", vectors)["found"]
        assert ".removing-9-9/part" in found and ".removing-9-9/other" not in found
        assert {path.split("/")[0] for path in found} == {"1", "2", ".removing-9-9"}
    assert erasure.proof(str(tmp_path), "gallery", vectors[:0])["found"] == []


def test_a_name_that_is_not_enrolled_changes_nothing(built, tmp_path):
    with pytest.raises(ValueError, match="`anne` is not enrolled; did you mean ann"):
        erasure.erase(built, ["anne"], check=False)
    assert sorted(path.name for path in (tmp_path / "gallery").iterdir()) == ["1", "2"]
