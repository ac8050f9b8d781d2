"""Embeddings in .npz files: what is read, and what is refused before it is unpacked."""

import io
import os
import zipfile

import numpy as np
import pytest

from keras_apps import vectors as module
from keras_apps.vectors import read_vectors

ROWS = np.random.default_rng(0).normal(size=[6, 3])


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", ">f4"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_is_written_is_read(kind, save, tmp_path):
    facts = {"identities": np.array(list("aabbcc")), "cameras": np.arange(6, dtype=np.uint8),
             "tracks": np.arange(6) / 1.0}
    save(tmp_path / "a.npz", embeddings=np.asfortranarray(ROWS.astype(kind)), other=np.zeros(9), **facts)
    found = read_vectors(tmp_path / "a.npz")
    np.testing.assert_array_equal(found.embeddings, ROWS.astype(kind))
    for name, values in facts.items():
        np.testing.assert_array_equal(getattr(found, name), values)
    save(tmp_path / "b.npz", embeddings=ROWS, identities=np.arange(6))
    found = read_vectors(tmp_path / "b.npz")
    assert found.cameras is None and found.tracks is None


def spoiled(row, value):
    rows = ROWS.copy()
    rows[row, 1] = value
    return rows


@pytest.mark.parametrize("arrays, told", [
    ({"identities": np.arange(6)}, "has the arrays identities but must have `embeddings`"),
    ({"embeddings": ROWS}, "has the arrays embeddings but must have `identities`"),
    ({"embeddings": ROWS, "identities": np.arange(5)}, r"`identities` in `.*` is int64 \(5,\) but must be numbers or"),
    ({"embeddings": ROWS, "identities": np.arange(6), "cameras": np.zeros([6, 1])}, r"`cameras` in `.*` is float64 \("),
    ({"embeddings": ROWS, "identities": np.arange(6), "tracks": np.zeros(7, int)}, r"`tracks` in .* \[6\]; give one a"),
    ({"embeddings": ROWS[0], "identities": np.arange(3)}, r"`embeddings` in `.*` is float64 \(3,\) but must be"),
    ({"embeddings": ROWS[:0], "identities": np.arange(0)}, r"float64 \(0, 3\) but must be .*, neither of them 0"),
    ({"embeddings": ROWS[:, :0], "identities": np.arange(6)}, r"float64 \(6, 0\) but must be"),
    ({"embeddings": ROWS.astype(int), "identities": np.arange(6)}, r"`embeddings` in `.*` is int64 \(6, 3\)"),
    ({"embeddings": ROWS + 1j, "identities": np.arange(6)}, "is complex128"),
    ({"embeddings": ROWS, "identities": np.array([None] * 6)}, "`identities` in `.*` holds Python objects, which are"),
    ({"embeddings": ROWS, "identities": np.array([True] * 6)}, "`identities` in `.*` is bool"),
    ({"embeddings": ROWS, "identities": np.arange(6) + 0.5}, "`identities` in `.*` has numbers that are not whole"),
    ({"embeddings": ROWS, "identities": np.full(6, np.nan)}, "`identities` in `.*` has numbers that are not whole"),
    ({"embeddings": spoiled(4, np.nan), "identities": np.arange(6)}, "in row 4 that is not finite but a cosine"),
    ({"embeddings": spoiled(0, -np.inf), "identities": np.arange(6)}, "in row 0 that is not finite"),
])
def test_what_does_not_fit_is_one_sentence(arrays, told, tmp_path):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=told) as raised:
        read_vectors(tmp_path / "a.npz")
    assert "\n" not in str(raised.value)


def test_too_large_is_told_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 100)
    np.savez(tmp_path / "a.npz", embeddings=ROWS, identities=np.arange(6))
    monkeypatch.setattr(module.np, "load", None)
    with pytest.raises(ValueError, match="`embeddings` in `.*` has 144 bytes but may have 100; save it as float32"):
        read_vectors(tmp_path / "a.npz")


def entry(shape, data=b"", kind="<f4"):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": kind, "fortran_order": False, "shape": shape})
    return stream.getvalue() + data


@pytest.mark.parametrize("entries, told", [
    ({"embeddings.npy": entry((10 ** 9, 10 ** 9)), "identities.npy": entry((10 ** 9,))}, "claims to be .* is damaged"),
    ({"embeddings.npy": entry((2, 2), b"\0" * 12), "identities.npy": entry((2,), b"\0" * 8)}, "claims to be"),
    ({"embeddings.npy": entry((-2, -2), b"\0" * 16), "identities.npy": entry((2,), b"\0" * 8)}, r"float32 \(-2, -2\)"),
    ({"embeddings.npy": b"no array", "identities.npy": b""}, "is not an .npz file of arrays"),
    ({"embeddings.npy": entry((2, 2))[:20]}, "is not an .npz file of arrays"),
    ({}, r"has the arrays \(none\) but must have `embeddings`"),
])
def test_a_hostile_file_is_one_sentence(entries, told, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    with pytest.raises((ValueError, OSError), match=told):
        read_vectors(tmp_path / "a.npz")


def test_every_cut_and_flipped_byte_is_one_sentence_or_sound(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", embeddings=ROWS, identities=np.arange(6))
    whole = (tmp_path / "a.npz").read_bytes()
    random = np.random.default_rng(0)
    for number in range(150):
        data = bytearray(whole)
        if number % 2:
            data = data[:random.integers(len(data))]
        else:
            data[random.integers(len(data))] ^= 1 << random.integers(8)
        (tmp_path / "b.npz").write_bytes(data)
        try:
            assert read_vectors(tmp_path / "b.npz").embeddings.shape[0] == 6
        except (ValueError, OSError) as error:
            assert "b.npz" in str(error) and "\n" not in str(error)


def test_what_is_no_file_of_arrays_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="`.*nowhere.npz` does not exist; give an .npz file"):
        read_vectors(tmp_path / "nowhere.npz")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_vectors(tmp_path)
    (tmp_path / "text.npz").write_text("embeddings")
    np.save(tmp_path / "one.npy", ROWS)
    for name in ("text.npz", "one.npy", os.devnull):
        with pytest.raises((ValueError, OSError), match="is not an .npz file of arrays|does not exist"):
            read_vectors(tmp_path / name)
