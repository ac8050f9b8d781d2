import io
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from saved_models import gallery, verify
from saved_models.export import export
from tfrecords import examine, files
from tfrecords.read import Records
from tfrecords.sources.folder import FolderSource
from tfrecords.write import write


def entries_of(png, count, start=0, per_identity=2):
    return [(f"person {i // per_identity}", f"person {i // per_identity}/{i}.png", png(100 + i))
            for i in range(start, start + count)]


def vectors_of(version, images):
    values = ask(version, "embed", image_bytes=images)["embedding"]
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def ask(path, signature="search", **inputs):
    function = tf.saved_model.load(path).signatures[signature]
    outputs = function(**{name: tf.constant(value) for name, value in inputs.items()})
    return {name: value.numpy() for name, value in outputs.items()}


def facts(path):
    return json.loads((Path(path) / "assets" / "gallery.json").read_text())


def node_count(path):
    return verify.GraphInspection(verify.serve_graph(verify.read_saved_model(path)), lambda name: True)()


@pytest.fixture(scope="module")
def content(png):
    return entries_of(png, 7)


@pytest.fixture(scope="module")
def built(version, content, tmp_path_factory):
    """A gallery of 7 entries, written once for the tests that only read it."""
    models = str(tmp_path_factory.mktemp("galleries"))
    return gallery.build(version, content, models, k=4, threshold=0.5, check=False)


@pytest.fixture
def copied(built, tmp_path):
    """The same gallery where a test may write further versions."""
    shutil.copytree(built, tmp_path / "gallery" / "1")
    return str(tmp_path / "gallery" / "1")


def test_search_is_the_numpy_ranking(version, built, content, png):
    queries = [png(i) for i in range(5)] + [content[3][2]]
    answer = ask(built, image_bytes=queries)
    scores = vectors_of(version, queries) @ vectors_of(version, [image for _, _, image in content]).T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :4]
    np.testing.assert_allclose(answer["scores"], np.take_along_axis(scores, order, 1), atol=1e-6)
    assert answer["entries"].tolist() == [[content[i][1].encode() for i in row] for row in order]
    assert answer["identities"].tolist() == [[content[i][0].encode() for i in row] for row in order]
    assert answer["entries"][5, 0] == content[3][1].encode() and answer["scores"][5, 0] > 0.9999


def test_the_three_signatures_agree(version, built, content, png):
    image = content[5][2]
    pixels = tf.cast(tf.io.decode_png(image), tf.float32)[None].numpy()
    embedding = ask(version, "embed", image_bytes=[image])["embedding"]
    answers = [ask(built, image_bytes=[image]), ask(built, "serving_default", image_bytes=[image]),
               ask(built, "search_tensor", image_tensor=pixels),
               ask(built, "search_embedding", embedding=7.5 * embedding)]
    for answer in answers[1:]:
        assert answer["entries"].tolist() == answers[0]["entries"].tolist()
        np.testing.assert_allclose(answer["scores"], answers[0]["scores"], atol=1e-6)


def test_a_model_that_asks_by_other_vectors_searches_by_them(model, content, tmp_path):
    def turned(images):
        return {"embedding": model.embed(images)["embedding"][:, ::-1]}
    signatures = {**model.signatures, "ask": {"function": turned, "images": 1}}
    version = export(str(tmp_path), "two", signatures, model.decoder, model.variables, {}, check=False)
    path = gallery.build(version, content, str(tmp_path), k=3, threshold=0.0, check=False)
    images = [image for _, _, image in content]
    scores = vectors_of(version, images)[:, ::-1] @ vectors_of(version, images).T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :3]
    pixels = tf.cast(tf.io.decode_png(images[1]), tf.float32)[None].numpy()
    answers = ask(path, image_bytes=images), ask(path, "search_tensor", image_tensor=pixels)
    np.testing.assert_allclose(answers[0]["scores"], np.take_along_axis(scores, order, 1), atol=1e-6)
    np.testing.assert_allclose(answers[1]["scores"], answers[0]["scores"][1:2], atol=1e-6)
    assert answers[0]["entries"].tolist() == [[content[i][1].encode() for i in row] for row in order]
    asked = ask(version, "ask", image_bytes=images)["embedding"]
    by_vectors = ask(path, "search_embedding", embedding=asked)
    np.testing.assert_allclose(by_vectors["scores"], answers[0]["scores"], atol=1e-6)
    assert card_of(path).count("`ask`") == 2 and "and an entry's, by `embed`;" in card_of(path)
    removed = gallery.remove(path, entries=[content[0][1]], check=False)
    assert card_of(removed).count("`ask`") == 2, "also from an encoder that was loaded out of a gallery"


def card_of(path):
    return (Path(path) / "assets" / "model_card.md").read_text()


def test_the_card_tells_by_which_vectors_a_search_asks(built):
    assert "`ask`" not in card_of(built) and "`search_embedding`\ntakes vectors of `embed`." in card_of(built)
    assert "The best 4 of each query, unknown below 0.5." in card_of(built)


@pytest.mark.parametrize("threshold", [-1.0, 0.5])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.0, 3e38])
def test_a_query_without_a_direction_is_unknown_and_names_nobody(version, content, tmp_path, value, threshold):
    path = gallery.build(version, content[:3], str(tmp_path), threshold=threshold, check=False)
    good = gallery.load_entries(path)[0][:1]
    bad = good.copy()
    bad[0, 0] = value
    if not np.isnan(value):
        bad[:] = value
    pixels = np.full((1, 5, 6, 3), np.nan, np.float32)
    for answer, row in ((ask(path, "search_embedding", embedding=np.concatenate([good, bad, good])), 1),
                        (ask(path, "search_tensor", image_tensor=pixels), 0)):
        assert answer["unknown"][row] and np.isnan(answer["scores"][row]).all()
        assert set(answer["identities"][row]) == set(answer["entries"][row]) == {b""}
    answer = ask(path, "search_embedding", embedding=np.concatenate([good, bad, good]))
    assert answer["unknown"].tolist() == [False, True, False] and answer["entries"][2, 0] == content[0][1].encode()


def test_unknown_is_a_best_score_below_the_threshold(built):
    vectors, _, _ = gallery.load_entries(built)
    queries = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    answer = ask(built, "search_embedding", embedding=queries)
    best = (queries / np.linalg.norm(queries, axis=1, keepdims=True) @ vectors.T).max(1)
    assert 0 < answer["unknown"].sum() < 200
    clear = np.abs(best - 0.5) > 1e-5
    np.testing.assert_array_equal(answer["unknown"][clear], best[clear] < 0.5)


def test_no_query_gives_empty_answers_with_k_columns(built):
    answer = ask(built, "search_embedding", embedding=np.zeros((0, 4), np.float32))
    assert answer["identities"].shape == (0, 4) and answer["unknown"].shape == (0,)


def test_equal_scores_come_in_the_order_of_enrolment(version, png, tmp_path):
    same = png(5)
    path = gallery.build(version, [("z", "z/1", same), ("a", "a/1", same)], str(tmp_path), check=False)
    assert ask(path, image_bytes=[same])["identities"].tolist() == [[b"z", b"a"]]


def test_facts_vectors_and_names_are_kept(version, built, content):
    encoder_sha256 = facts(built)["encoder_sha256"]
    assert len(encoder_sha256) == 64 and facts(built) == {
        "count": 7, "identities": 4, "k": 4, "k_wanted": 4, "threshold": 0.5, "dimension": 4,
        "encoder_sha256": encoder_sha256, "data_sha256": "ab" * 32, "skipped": {"count": 0, "unreadable": []}}
    vectors, identities, names = gallery.load_entries(built)
    np.testing.assert_allclose(vectors, vectors_of(version, [image for _, _, image in content]), atol=1e-6)
    assert list(zip(identities, names)) == [(identity, name) for identity, name, _ in content]


def test_threshold_comes_from_the_calibration_of_the_encoder_unless_given(version, content, tmp_path):
    assert facts(gallery.build(version, content, str(tmp_path), check=False))["threshold"] == 0.25
    bare = tmp_path / "bare"
    shutil.copytree(version, bare)
    (bare / "assets" / "calibration.json").unlink()
    path = gallery.build(str(bare), content, str(tmp_path), check=False)
    assert facts(path)["threshold"] == -1.0
    assert not ask(path, "search_embedding", embedding=-gallery.load_entries(path)[0])["unknown"].any()


def test_generations_keep_the_encoder_and_do_not_grow(version, copied, content, png):
    nodes, size = node_count(copied), os.path.getsize(os.path.join(copied, "saved_model.pb"))
    path, known = copied, list(content)
    for generation in range(3):
        new = [(f"new {generation}", f"new {generation}", png(500 + generation))]
        # The last one is verified, as all are outside of tests: both loaders in a new process.
        path, known = gallery.enrol(path, new, check=generation == 2), known + new
    assert path.endswith("/4") and facts(path)["count"] == 10 and node_count(path) == nodes
    assert os.path.getsize(os.path.join(path, "saved_model.pb")) < size + 500
    assert {**facts(path), "count": 7, "identities": 4} == facts(copied)
    queries = [png(9), png(501)]
    found = ask(path, image_bytes=queries)
    scores = vectors_of(version, queries) @ vectors_of(version, [image for _, _, image in known]).T
    np.testing.assert_allclose(found["scores"], -np.sort(-scores, axis=1)[:, :4], atol=1e-6)
    assert found["entries"][1, 0] == b"new 1"


def test_k_grows_with_the_gallery_up_to_the_wanted_number(version, png, tmp_path):
    path = gallery.build(version, entries_of(png, 2), str(tmp_path), k=3, check=False)
    assert ask(path, image_bytes=[png(1)])["scores"].shape == (1, 2)
    path = gallery.enrol(path, entries_of(png, 2, start=2), check=False)
    assert ask(path, image_bytes=[png(1)])["scores"].shape == (1, 3) and facts(path)["k"] == 3


def test_remove_takes_identities_and_entries_and_leaves_no_trace(copied):
    vectors, _, names = gallery.load_entries(copied)
    path = gallery.remove(copied, ["person 1"], ["person 0/1.png"], keep=1, check=False)
    left, identities, entries = gallery.load_entries(path)
    rows = [0, 4, 5, 6]
    np.testing.assert_array_equal(left, vectors[rows])
    assert entries == [names[i] for i in rows] and "person 1" not in identities
    assert os.listdir(os.path.dirname(path)) == ["2"]
    files = b"".join(file.read_bytes() for file in Path(path).rglob("*") if file.is_file())
    assert b"person 0/0.png" in files
    for gone in (b"person 1", b"person 0/1.png", vectors[2].tobytes(), vectors[1].tobytes()):
        assert gone not in files


@pytest.mark.parametrize("arguments, text", [
    ((["persn 1"],), "Identity `persn 1` is not enrolled; did you mean person "),
    (((), ["person 0/9.png"]), "Entry `person 0/9.png` is not enrolled; did you mean person 0/"),
    (((), ()), "`identities` and `entries` are both empty"),
    (("person 1",), "must be lists of names, not one string"),
])
def test_remove_refuses_what_it_cannot_do(copied, arguments, text):
    with pytest.raises(ValueError, match=text):
        gallery.remove(copied, *arguments, check=False)
    assert os.listdir(os.path.dirname(copied)) == ["1"]


def test_a_gallery_of_nobody_knows_nobody(copied, png):
    path = gallery.remove(copied, [f"person {i}" for i in range(4)], check=False)
    assert facts(path)["count"] == facts(path)["identities"] == 0 and facts(path)["k"] == 1
    for answer in (ask(path, image_bytes=[png(1), png(2)]),
                   ask(path, "search_embedding", embedding=np.ones([2, 4], np.float32))):
        assert answer["unknown"].tolist() == [True, True] and np.isnan(answer["scores"]).all()
        assert answer["identities"].tolist() == answer["entries"].tolist() == [[b""], [b""]]
    path = gallery.enrol(path, [("new", "new/0", png(1))], check=False)
    assert ask(path, image_bytes=[png(1)])["identities"].tolist() == [[b"new"]] and facts(path)["k_wanted"] == 4


def test_enrol_names_the_entry_at_fault_and_writes_nothing(copied, png):
    with pytest.raises(ValueError, match="Entry `person 0/1.png` is enrolled twice"):
        gallery.enrol(copied, [("x", "person 0/1.png", png(1))])
    with pytest.raises(ValueError, match="Entry `x/2` is enrolled twice"):
        gallery.enrol(copied, [("x", "x/2", png(1)), ("x", "x/2", png(2))])
    with pytest.raises(ValueError, match="1 of 3 images .33.3%. cannot be used, .*x/2: the file is not an "):
        gallery.enrol(copied, [("x", "x/1", png(1)), ("x", "x/2", b"no image"), ("x", "x/3", png(3))])
    with pytest.raises(ValueError, match="none of the 1 images can be used .x/1: the image is damaged or truncated"):
        gallery.enrol(copied, [("x", "x/1", png(1)[:-100])])
    with pytest.raises(ValueError, match="Entry `x/1` must be the bytes of an encoded image"):
        gallery.enrol(copied, [("x", "x/1", "path.png")])
    with pytest.raises(ValueError, match="must have non-empty strings"):
        gallery.enrol(copied, [("", "x/1", png(1))])
    with pytest.raises(ValueError, match="`entries` is empty"):
        gallery.enrol(copied, iter(()))
    assert os.listdir(os.path.dirname(copied)) == ["1"]


def test_an_embedding_without_direction_is_refused(version, tmp_path):
    black = tf.io.encode_png(np.zeros((4, 4, 3), np.uint8)).numpy()
    with pytest.raises(ValueError, match="Entry `dark` has an embedding of length 0.0"):
        gallery.build(version, [("x", "dark", black)], str(tmp_path))


@pytest.mark.parametrize("options, text", [
    ({"k": 0}, "`k` is 0"), ({"k": True}, "`k` is True"),
    ({"threshold": float("nan")}, "`threshold` is nan"),
    ({"threshold": 1.5}, "`threshold` is 1.5 but must be a cosine"),
])
def test_build_refuses_bad_arguments(version, content, tmp_path, options, text):
    with pytest.raises(ValueError, match=text):
        gallery.build(version, content, str(tmp_path), **options)
    assert os.listdir(tmp_path) == []


def test_only_embedding_versions_build_and_only_galleries_enrol(version, content, tmp_path):
    spec = {"x": tf.TensorSpec([None], tf.float32)}

    def double(x):
        return {"y": 2.0 * x}
    entry = {"double": {"function": double, "inputs": spec}}
    other = export(str(tmp_path), "other", entry, None, [], {}, check=False)
    with pytest.raises(ValueError, match="a gallery needs `embed`"):
        gallery.build(other, content, str(tmp_path))
    with pytest.raises(ValueError, match="is not a gallery version folder"):
        gallery.enrol(version, content)
    with pytest.raises(ValueError, match="is not a gallery version"):
        gallery.load_entries(other)
    with pytest.raises(FileNotFoundError, match="holds no saved_model.pb"):
        gallery.build(str(tmp_path / "missing"), content, str(tmp_path))


def test_batches_do_not_change_the_vectors(version, png, tmp_path, monkeypatch):
    content = entries_of(png, 5)
    whole = gallery.build(version, content, str(tmp_path), check=False)
    monkeypatch.setattr(gallery, "BATCH", 2)
    halves = gallery.build(version, iter(content), str(tmp_path), check=False)
    monkeypatch.setattr(gallery, "BATCH_BYTES", len(content[0][2]) + 50)
    singles = gallery.build(version, content, str(tmp_path), check=False)
    for path in (halves, singles):
        np.testing.assert_allclose(gallery.load_entries(path)[0], gallery.load_entries(whole)[0], atol=1e-6)
        assert gallery.load_entries(path)[2] == gallery.load_entries(whole)[2]


def fill(folder, names, data=None):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode() if data is None else data)


def as_zip(folder, file):
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*"), reverse=True):
            archive.write(path, path.relative_to(folder))
    return str(file)


def read(entries):
    return [(identity, name, image()) for identity, name, image in entries]


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("above", ["", "all/"])
def test_folder_entries_are_sorted_and_named_by_the_first_level(tmp_path, above, zipped):
    folder = tmp_path / "photos"
    fill(folder, [above + name for name in (
        "b/2.png", "b/10.JPG", "a/deep/1.gif", "a/.hidden.png", ".git/x/1.png", "a/notes.jpg.txt",
        "__MACOSX/b/2.png", "c/1.webp")])
    found = gallery.folder_entries(as_zip(folder, tmp_path / "photos.zip") if zipped else folder)
    expected = [(name[0], above + name, (above + name).encode())
                for name in ("a/deep/1.gif", "b/10.JPG", "b/2.png", "c/1.webp")]
    assert len(found) == 4 and read(found) == expected == read(found)


def test_one_identity_alone_is_no_folder_around_all_others(tmp_path):
    fill(tmp_path, ["ann/1.png", "ann/2.png"])
    found = [entry[:2] for entry in gallery.folder_entries(tmp_path)]
    assert found == [("ann", "ann/1.png"), ("ann", "ann/2.png")]


@pytest.mark.parametrize("names, text", [
    (["1.png", "a/2.png"], "1 of 2 images lie directly in `[^`]*photos`, such as `1.png`, but a sub-folder"),
    (["all/1.png", "all/a/2.png"], "1 of 2 images lie directly in `[^`]*photos/all`, such as `all/1.png`"),
])
def test_images_outside_of_sub_folders_are_refused(tmp_path, names, text):
    fill(tmp_path / "photos", names)
    with pytest.raises(ValueError, match=text):
        gallery.folder_entries(tmp_path / "photos")


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("pattern, identities", [
    (r"(?P<label>car|bus)_(?P<identity>\d+)_(?P<camera>cam\d)", ["7", "012", "012", "013"]),
    (r"(?P<label>[a-z]+)_\d+_", ["bus", "car", "car", "car"]),
    (r"(?P<label>[a-z]+)_0*(?P<identity>12)?", ["bus", "12", "12", "car"]),      # identity where there is one
])
def test_a_pattern_reads_the_identity_from_the_path(tmp_path, pattern, identities, zipped):
    folder = tmp_path / "photos"
    names = ["bus_7_cam1.jpg", "day 1/car_012_cam1.jpg", "day 2/car_012_cam2.jpg", "day 2/deep/car_013_cam1.jpg"]
    fill(folder, [*names, "day 1/plan.jpg", "notes_1_.txt"])
    place = as_zip(folder, tmp_path / "photos.zip") if zipped else folder
    found = gallery.folder_entries(place, pattern)
    assert read(found) == [(identity, name, name.encode()) for identity, name in zip(identities, names)]
    assert len(found) == 4 and found.ignored == 1 and gallery.folder_entries(place, "(?P<label>.)").ignored == 0


@pytest.mark.parametrize("pattern, text", [
    ("(?P<camera>.)", "has neither a group `identity` nor a group `label`, so nothing says whose image it is; add"),
    ("(?P<identity>car)?", "finds no identity in 1 of the 2 images it matches, such as `bus_1.png`; change it"),
    ("(?P<identity>(", "is not a regular expression"), ("(?P<who>.)", "has the unknown group `who`"),
    ("(?P<identity>x)", "matches none of the 2 images"),
])
def test_patterns_that_name_nobody_are_refused(tmp_path, pattern, text):
    fill(tmp_path, ["bus_1.png", "car_1.png"])
    with pytest.raises(ValueError, match=text) as caught:
        gallery.folder_entries(tmp_path, pattern)
    assert repr(pattern) in str(caught.value)


def test_images_that_a_pattern_leaves_out_are_counted(version, tmp_path, png):
    for name in ("a_1.png", "a_2.png", "b_1.png", "plan.png", "c_1.png"):
        fill(tmp_path / "photos", [name], png(len(name)))
    found = gallery.folder_entries(tmp_path / "photos", "(?P<identity>[ab])_")
    path = gallery.build(version, found, str(tmp_path), check=False)
    assert facts(path)["ignored"] == 2 and facts(path)["count"] == 3 and facts(path)["skipped"]["count"] == 0
    assert "ignored" not in facts(gallery.remove(path, ["b"], check=False))


def test_what_only_the_encoder_cannot_read_is_skipped_with_its_reason(version, tmp_path, png, monkeypatch):
    # Stands for an encoder that is more particular.
    monkeypatch.setattr(gallery, "decodable", lambda data, kind: (data, kind))
    content = [*entries_of(png, 12), ("x", "x/cut", png(1)[:-100]), *entries_of(png, 7, start=12)]
    path = gallery.build(version, content, str(tmp_path), check=False)
    entry, = facts(path)["skipped"]["unreadable"]
    assert entry["path"] == "x/cut" and entry["reason"].startswith("the model cannot read it: ")
    assert gallery.load_entries(path)[2] == [name for _, name, _ in content if name != "x/cut"]


def encoded(kind, mode="RGB", **options):
    data = io.BytesIO()
    pixels = np.random.default_rng(3).integers(0, 256, (12, 10, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(data, kind, **options)
    return data.getvalue()


def deep(kind):
    data = io.BytesIO()
    Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100).save(data, kind)
    return data.getvalue()


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded("JPEG", exif=exif)


PNG = encoded("PNG")
TAKEN = {
    "p.png": PNG, "grey.PNG": encoded("PNG", "L"), "alpha.png": encoded("PNG", "LA"), "j.jpeg": encoded("JPEG"),
    "cmyk.jpg": encoded("JPEG", "CMYK"), "turned.jpg": turned(), "g.gif": encoded("GIF", "P"),
    "b.bmp": encoded("BMP"), "palette.bmp": encoded("BMP", "P"), "w.webp": encoded("WEBP", lossless=True),
    "t.tiff": encoded("TIFF"), "cmyk.tif": encoded("TIFF", "CMYK"), "palette.tif": encoded("TIFF", "P"),
    "m.ppm": encoded("PPM"), "m.pgm": encoded("PPM", "L"), "no jpeg.jpg": PNG,
    # No UTF-8, as a disk or an old zip may hold it.
    os.fsdecode(b"caf\xe9.png"): PNG,
}
REFUSED = {
    "empty.png": b"", "text.jpg": b"no image", "cut.png": PNG[:-100], "cut.jpg": encoded("JPEG")[:-60],
    "cut.ppm": encoded("PPM")[:-9], "cut.bmp": encoded("BMP")[:-9], "deep.png": deep("PNG"), "deep.tif": deep("TIFF"),
    "deep.pgm": deep("PPM"), "deep.ppm": b"P6 # two bytes each\n2 1\n65535\n" + bytes(12),
    "huge.png": PNG[:16] + (60_000).to_bytes(4, "big") * 2 + PNG[24:], "large.png": bytes(20_001),
}
PASSED_OVER = {".hidden.png": PNG, "Thumbs.db": PNG, "notes.txt": b"", "p.png.txt": PNG}
ENTRIES = {                                       # facts of a zip entry that are made wrong
    "crc.png": {"CRC": 1}, "locked.png": {"flag_bits": 1}, "method.png": {"compress_type": zipfile.ZIP_BZIP2},
    "terabyte.png": {"file_size": 2**40}, "short.png": {"file_size": 20}, "over.png": {"compress_size": 2**20},
}


def odd_photos(folder, zipped):
    """All of the above below two sub-folders, in a folder or a zip, and what of it is no good."""
    above = "all/" if zipped else ""
    good = {name: data for name, data in TAKEN.items() if name.isascii() or not zipped}
    for i, (name, data) in enumerate({**good, **REFUSED, **PASSED_OVER}.items()):
        fill(folder, [f"{above}{'ab'[i % 2]}/{name}"], data)
    if not zipped:
        fill(folder.parent / "far", ["1.png"], PNG)
        (folder / "linked").symlink_to(folder.parent / "far")
        (folder / "a" / "up").symlink_to(folder)
        return folder, set(REFUSED)
    fill(folder, [f"all/c/{name}" for name in ENTRIES], PNG)
    place = as_zip(folder, folder.with_suffix(".zip"))
    with zipfile.ZipFile(place, "a") as archive:
        for name, facts_ in ENTRIES.items():
            for fact, value in facts_.items():
                setattr(archive.getinfo(f"all/c/{name}"), fact, value)
        archive._didModify = True
    return place, {*REFUSED, *ENTRIES}


@pytest.mark.parametrize("zipped", [False, True])
def test_the_gallery_takes_and_skips_what_write_does(version, tmp_path, monkeypatch, zipped):
    monkeypatch.setattr(examine, "MOST_SKIPPED", 0.9)
    monkeypatch.setattr(files, "MAX_BYTES", 20_000)
    place, refused = odd_photos(tmp_path / "photos", zipped)
    manifest = write([FolderSource(place)], tmp_path / "data", shards=1, most_skipped=0.9)
    path = gallery.build(version, gallery.folder_entries(place), str(tmp_path), check=False)

    assert facts(path)["skipped"] == manifest["skipped"]
    assert {os.path.basename(entry["path"]) for entry in manifest["skipped"]["unreadable"]} == refused
    data = Records(tmp_path / "data")
    rows = range(manifest["count"])
    vectors, identities, names = gallery.load_entries(path)
    assert names == [row["path"] for row in data.rows(rows)] and identities == list(data.values("label", rows))
    assert len(names) == (len(TAKEN) - 1 if zipped else len(TAKEN) + 1)
    np.testing.assert_allclose(vectors, vectors_of(version, data.images(rows)), atol=1e-6)


def damaged_name(place):
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr("a/\u00fc.png", PNG)     # not ASCII, so flagged as UTF-8
    place.write_bytes(place.read_bytes().replace("\u00fc".encode(), b"\xff\xff"))


@pytest.mark.parametrize("make, text", [
    (lambda place: None, "does not exist"),
    (lambda place: place.write_bytes(b"no zip"), "is neither a directory nor a zip file"),
    (lambda place: place.write_bytes(b"PK\3\4 no zip"), "is a damaged zip file"),
    (damaged_name, "is a damaged zip file"),
    (lambda place: fill(place, ["a/1.txt", "a/2.jpg.txt"]), "holds no image; images are files that end in .png"),
    (lambda place: fill(place, ["a/1.png"]), "none of the 1 images can be used .a/1.png: the file is not an image"),
    (lambda place: (fill(place, ["a/1.png", "a/2.png"]), fill(place, ["a/3.png"], PNG)),
     "2 of 3 images .66.7%. cannot be used, more than the 5% that are skipped .a/1.png: the file is not"),
])
def test_the_gallery_refuses_what_write_does_in_the_same_sentence(version, tmp_path, make, text):
    place = tmp_path / "photos.zip"
    make(place)
    with pytest.raises((ValueError, OSError), match=text) as written:
        write([FolderSource(place)], tmp_path / "data")
    with pytest.raises(written.type) as built:
        gallery.build(version, gallery.folder_entries(place), str(tmp_path), check=False)
    assert str(built.value) == str(written.value) and not (tmp_path / "gallery").exists()


def test_bytes_and_single_files_are_bounded_like_those_of_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_BYTES", len(PNG))
    fill(tmp_path, ["1.png"], PNG)
    fill(tmp_path, ["2.png"], PNG + b"!")
    assert gallery.decodable(gallery.read_image(tmp_path / "1.png"), None) == (PNG, ("uint8", False, 0))
    for refused in (lambda: gallery.read_image(tmp_path / "2.png"), lambda: gallery.decodable(PNG + b"!", None)):
        with pytest.raises(OSError, match="bytes, more than the"):
            refused()


def test_one_in_twenty_is_skipped_and_no_trace_stays_after_a_removal(version, tmp_path, png):
    content = entries_of(png, 19) + [("x", "x/cut.png", b"")]
    path = gallery.build(version, content, str(tmp_path), check=False)
    assert facts(path)["count"] == 19 and facts(path)["skipped"]["unreadable"] == [
        {"path": "x/cut.png", "reason": "the file is empty"}]
    assert "skipped" not in facts(gallery.remove(path, ["person 1"], check=False))
    with pytest.raises(ValueError, match="2 of 21 images"):
        gallery.build(version, content + [("x", "x/2.png", b"")], str(tmp_path), check=False)


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_bytes(b""),
                                    lambda file: file.write_bytes(bytes(b ^ 255 for b in file.read_bytes()))])
def test_damaged_versions_are_named(version, copied, tmp_path, png, damage):
    shutil.copytree(version, tmp_path / "model")
    for folder in (tmp_path / "model", Path(copied)):
        damage(next((folder / "variables").glob("variables.data-*")))
    with pytest.raises(ValueError, match=r"model` cannot be loaded \(.+\); export the version again"):
        gallery.build(str(tmp_path / "model"), entries_of(png, 1), str(tmp_path), check=False)
    with pytest.raises(ValueError, match="is not a gallery version"):
        gallery.enrol(copied, entries_of(png, 1), check=False)


def test_what_is_sent_to_a_server_is_decoded_here_only_where_it_must_be(monkeypatch, png):
    deep = tf.io.encode_png(np.zeros((3, 4, 3), np.uint16)).numpy()
    jpeg = tf.io.encode_jpeg(np.zeros((5, 4, 3), np.uint8)).numpy()
    stream = io.BytesIO()
    Image.new("RGB", (4, 6)).save(stream, "WEBP")
    webp, kind = stream.getvalue(), gallery.ENCODED
    assert gallery.sendable(png(0), None) == (png(0), kind, 120), "the first image is looked at"
    assert gallery.sendable(webp, kind)[1:] == (kind, 24) and gallery.sendable(webp, kind)[0][:4] == b"\x89PNG"
    assert gallery.sendable(deep, None) == (deep, ("uint16", False, 0), 12)
    for data, of in ((deep, kind), (png(0), gallery.sendable(deep, None)[1])):
        with pytest.raises(ValueError, match="its pixels are uint.* but the first image's are uint"):
            gallery.sendable(data, of)
    monkeypatch.setattr(gallery, "examine", None)
    assert gallery.sendable(png(0), kind) == (png(0), kind, 120) and gallery.sendable(jpeg, kind)[2] == 20
    with pytest.raises(ValueError, match="not an image of a known format"):
        gallery.sendable(b"\xff\xd8\xff nothing", kind)
