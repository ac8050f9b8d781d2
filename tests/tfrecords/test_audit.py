"""The audit: planted faults are found, sound data give no warning, nothing from the data reaches the page raw."""

import functools
import io
import json
import re
from unittest import mock

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from tests.tfrecords.here import run_here
from tfrecords import audit, audit_duplicates, audit_page, audit_probe, schema
from tfrecords.read import Records
from tfrecords.write import write


class Source:
    """Items from a list of (path, array or bytes, columns)."""

    description = {"source": "list"}
    ignored = 0

    def __init__(self, items, pairs=None):
        self.items, self.pairs = items, pairs

    def __len__(self):
        return len(self.items)

    def __iter__(self):
        for path, data, columns in self.items:
            yield schema.Item(path, functools.partial(_read, data), columns)


def _read(data):
    if isinstance(data, Exception):
        raise data
    return data


@pytest.fixture(scope="module", autouse=True)
def one_graph_a_kind():
    """Data of one kind share their graph, which takes longer to trace than these few images to audit."""
    made, make = {}, audit.looker

    def looker(manifest):
        key = str([manifest[name] for name in ("dtype", "raw", "channels", "scaling")])
        if key not in made:
            made[key] = make(manifest)
        return made[key]
    with mock.patch.object(audit, "looker", looker):
        yield


def scene(seed, height=72, width=80, channels=3):
    """A picture with structure at all scales, another for each seed."""
    random = np.random.default_rng(seed)
    image = sum(np.kron(random.normal(size=(-(-height // side), -(-width // side), channels)),
                        np.ones((side, side, 1)))[:height, :width] * side ** 0.5 for side in (32, 16, 8, 4, 2))
    return np.uint8(np.clip(128 + 14 * image, 0, 255))


def encoded(image, kind="PNG", **options):
    stream = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(stream, kind, **options)
    return stream.getvalue()


def audited(tmp_path, items, name="set", pairs=None, **words):
    write([Source(items, pairs)], tmp_path / name, shards=1, **words)
    with Records(tmp_path / name) as records:
        return audit.Audit(records)


def texts(found, *levels):
    return " ".join(finding.text for finding in found.findings if finding.level in (levels or ("wrong", "look")))


def bits(value):
    return bin(int(value)).count("1")


# Hashes and pairs.

def test_band_search_equals_brute_force():
    random = np.random.default_rng(0)
    values = random.integers(0, 2 ** 64, 400, dtype=np.uint64)
    flips = [np.bitwise_or.reduce(np.uint64(1) << random.choice(64, count, False).astype(np.uint64))
             for count in np.repeat(range(1, 10), 20)]
    values = np.unique(np.concatenate([values, values[:180] ^ np.array(flips)]))
    pairs, complete = audit_duplicates.close_hashes(values)
    naive = {(i, j) for j in range(len(values)) for i in range(j) if bits(values[i] ^ values[j]) < 7}
    assert complete and len(naive) >= 120
    assert len(pairs) == len(naive) and {tuple(pair) for pair in pairs.tolist()} == naive


def test_band_search_says_when_it_gives_up():
    values = np.arange(64, dtype=np.uint64)
    pairs, complete = audit_duplicates.close_hashes(values, most=10)
    assert len(pairs) == 10 and not complete
    assert not audit_duplicates.close_hashes(values, steps=10)[1]
    assert len(audit_duplicates.close_hashes(values[:1])[0]) == 0


@pytest.mark.parametrize("change", [
    lambda image: Image.open(io.BytesIO(encoded(image, "JPEG", quality=40))),
    lambda image: image.resize((40, 36), Image.BILINEAR).resize((80, 72), Image.BILINEAR),
    lambda image: image.resize((160, 144), Image.BICUBIC),
    lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    lambda image: image.filter(ImageFilter.GaussianBlur(0.7)),
], ids=["jpeg", "half", "double", "contrast", "blur"])
def test_changed_copies_are_near_and_other_pictures_are_not(change):
    images = [Image.fromarray(scene(seed)) for seed in range(8)]
    thumbnails = np.stack([np.asarray(image.convert("L").resize((32, 32), Image.BOX), np.float32) / 255
                           for image in images + [change(image) for image in images]])
    values, details, blank = audit_duplicates.hashes(thumbnails)
    pairs, complete = audit_duplicates.near_pairs(values, details, np.zeros(16, bool), np.arange(16))
    assert complete and not blank.any()
    assert sorted(pairs.tolist()) == [[i, i + 8] for i in range(8)]


def test_the_detail_is_the_correlation_without_coarse_structure():
    random = np.random.default_rng(0)
    first, second = random.random((2, 1, 32, 32))
    second = first + 0.5 * second
    _, details, _ = audit_duplicates.hashes(np.concatenate([first, second]))
    u = np.arange(32)
    waves = np.cos(np.pi * np.outer(u, u + 0.5) / 32)                  # DCT-II by its formula
    waves[0] *= 0.5 ** 0.5
    spectra = [(waves @ image[0] @ waves.T)[np.add.outer(u, u) >= 6] for image in (first, second)]
    exact = spectra[0] @ spectra[1] / np.linalg.norm(spectra[0]) / np.linalg.norm(spectra[1])
    assert audit_duplicates.alike(details[:1], details[1:])[0] == pytest.approx(exact, abs=2e-3)


def test_images_of_one_hash_are_all_compared_and_once():
    details = np.random.default_rng(0).integers(-127, 128, (9, audit_duplicates.DETAIL)).astype(np.int8)
    details[[2, 5, 7]] = details[0]
    pairs, _ = audit_duplicates.near_pairs(np.zeros(9, np.uint64), details, np.zeros(9, bool), np.arange(1, 9))
    assert sorted(pairs.tolist()) == [[2, 5], [2, 7], [5, 7]]


def test_groups_are_chains_of_pairs():
    found = audit_duplicates.groups(6, np.array([[0, 2], [2, 5], [3, 4]]))
    assert len(set(found)) == 3 and found[0] == found[2] == found[5] and found[3] == found[4]
    assert audit_duplicates.equal_pairs(np.array([7, 3, 7, 7, 3])).tolist() == [[0, 2], [0, 3], [1, 4]]


def test_equal_numbers_of_another_shape_or_depth_are_no_copies():
    image = np.zeros((4, 6, 1), np.uint8)
    different = {audit_duplicates.digest(values) for values in (
        image, image.reshape(6, 4, 1), image.reshape(4, 2, 3), np.zeros((2, 6, 1), np.uint16), image.copy())}
    assert len(different) == 4


# The probe.

def scored(values, classes, groups, name=""):
    return audit_probe.score(values, classes, groups, audit_probe.folds(classes, groups), name)


def test_spectrum_of_a_wave_peaks_at_its_frequency():
    x = np.arange(64)
    for cycles in (4, 12, 28):
        wave = np.cos(2 * np.pi * cycles * x / 64)[None] * np.ones((64, 1))
        assert audit_probe.spectrum(wave).argmax() == cycles / 64 // (0.5 / audit_probe.RINGS)
        np.testing.assert_allclose(audit_probe.spectrum(wave), audit_probe.spectrum(100 * wave + 7), atol=1e-4)
    assert not audit_probe.spectrum(np.full((9, 5), 3.0)).any()
    for shape in ((1, 1), (1, 40), (300, 2), (8, 8)):
        assert np.isfinite(audit_probe.spectrum(np.random.default_rng(0).random(shape))).all()


def test_a_score_is_high_where_the_values_tell_the_class_and_chance_where_not():
    random = np.random.default_rng(0)
    classes, rows = np.repeat(np.arange(4), 30), np.arange(120)
    told = scored(classes[:, None] + random.normal(0, 0.05, (120, 1)), classes, rows, "file size")
    assert told.accuracy > 0.95 and told.strong and told.chance == 0.25
    between = scored(np.abs(classes - 1.5)[:, None], classes // 2, rows, "file size")
    assert not between.strong
    around = scored(np.array([0., 1, -1])[rows % 3][:, None], (rows % 3 > 0).astype(int), rows, "file size")
    assert around.accuracy == 1                                         # one class on both sides of the other
    blind = scored(random.normal(size=(120, 5)), classes, rows, "spectrum")
    assert blind.low < 0.25 < blind.high and not blind.strong


def test_the_interval_follows_its_formula():
    classes = np.repeat([0, 1], [40, 10])
    found = scored(np.zeros((50, 4)), classes, np.arange(50))
    assert found.accuracy == 0.5 and found.high - 0.5 == pytest.approx(0.5 - found.low)
    recalls = [[r for r in (0, 1)], [r for r in (1, 0)]]                # all rows are called one class
    halves = [1.96 * sum(((n * r + 1) / (n + 2)) * (1 - (n * r + 1) / (n + 2)) / n
                         for n, r in zip((40, 10), pair)) ** 0.5 / 2 for pair in recalls]
    assert any(found.high - 0.5 == pytest.approx(half) for half in halves)


def test_rows_of_one_group_do_not_vouch_for_each_other():
    """The values name the group; only a fold that splits groups could learn the classes from them."""
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(24), 10)
    classes = groups % 2
    values = random.normal(size=(24, 40))[groups]
    assert scored(values, classes, np.arange(240)).accuracy > 0.95
    assert scored(values, classes, groups).low < 0.5


def test_no_group_lies_in_two_folds_and_too_few_groups_make_none():
    groups = np.random.default_rng(0).integers(30, size=200)
    fold = audit_probe.folds(groups % 3, groups)
    assert set(fold) == set(range(5)) and all(len(set(fold[groups == group])) == 1 for group in groups)
    for classes in (np.zeros(9, int), np.array([0] * 8 + [1]), np.zeros(0, int)):
        assert audit_probe.folds(classes, np.arange(len(classes))) is None
    assert audit_probe.folds(np.repeat([0, 1], 5), np.array([0, 1, 2, 3, 4, 7, 7, 7, 7, 7])) is None


def test_the_sample_is_bounded_and_leaves_small_classes_out():
    classes = np.repeat(np.arange(30), 400)
    classes[:397] = -1                                                  # 3 images of class 0
    rows = audit_probe.sample(classes, np.arange(len(classes)))
    found, counts = np.unique(classes[rows], return_counts=True)
    assert len(found) == 20 and 0 not in found and -1 not in found and set(counts) == {250}
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(rows, audit_probe.sample(classes, np.arange(len(classes))))
    assert len(audit_probe.sample(np.zeros(50, np.int64), np.arange(50))) == 0
    # Images of three groups are three of a kind, however many.
    assert len(audit_probe.sample(np.repeat([0, 1], 50), np.repeat(np.arange(6), 17)[:100])) == 0


# Whole data folders.

@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """Equal and near copies within and across splits, labels that contradict, a case on both sides, blank images."""
    place = tmp_path_factory.mktemp("audit")
    items = []

    def add(image, split, label, case):
        items.append((f"{split}/{len(items)}.png", image, {"split": split, "label": label, "case": case}))
    for i in range(20):
        add(scene(i), "train", "ab"[i % 2], f"t{i}")
    for i in range(20, 30):
        add(scene(i), "test", "ab"[i % 2], f"s{i}")
    add(scene(3), "train", "b", "t3")                                   # 30: a copy of 3
    add(encoded(scene(3)), "test", "b", "s30")                          # 31: a leak, encoded in another way
    add(encoded(scene(4), "JPEG", quality=60), "test", "a", "s31")      # 32: a near leak of 4
    add(scene(20), "test", "b", "s20")                                  # 33: a copy of 20, which is an `a`
    add(scene(99), "test", "a", "t5")                                   # 34: a case of train
    for value in (0, 200):
        add(np.full((72, 80, 3), value, np.uint8), "train", "a", f"blank{value}")
    items.append(("broken.png", ValueError("cannot be had"), {"split": "train"}))
    return audited(place, items), place / "set"


def test_copies_and_leaks_are_found(faulty):
    facts = faulty[0].facts
    assert facts["equal_images"] == 3 and facts["equal_groups"] == 2
    assert facts["equal_train_test"] == 1 and facts["equal_within_train"] == 1 and facts["equal_within_test"] == 1
    assert facts["near_train_test"] == 1 and facts["near_groups"] == 1 and facts["near_images"] == 2
    assert facts["near_complete"]
    assert facts["equal_paths"] == [["train/3.png", "train/30.png", "test/31.png"], ["test/20.png", "test/33.png"]]
    assert facts["near_paths"] == [["train/4.png", "test/32.png"]]
    said = texts(faulty[0], "wrong")
    assert "1 image of test is also in train, pixel by pixel." in said
    assert "1 image of test is nearly equal to images of train." in texts(faulty[0], "look")
    assert "in 1 group, 1 of them across cases" in texts(faulty[0], "look")


def test_a_case_on_both_sides_and_contradicting_labels_are_wrong(faulty):
    facts, said = faulty[0].facts, texts(faulty[0], "wrong")
    assert facts["shared_case_train_test"] == 1 and "such as t5" in said
    assert facts["conflicts_label"] == 1 and "1 group of equal images has more than one label." in said


def test_blank_and_unreadable_images_are_told(faulty):
    facts = faulty[0].facts
    assert facts["blank"] == 2 and facts["skipped"] == 1 and facts["damaged"] == 0
    assert "broken.png: cannot be had" in texts(faulty[0], "look")


def test_every_key_is_documented_and_the_file_is_flat_json(faulty, tmp_path):
    found = faulty[0]
    audit.write(found, tmp_path)
    facts = json.loads((tmp_path / "audit.json").read_text())
    assert facts == json.loads(json.dumps(found.facts))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audit.html", "audit.json"]
    listed = audit.__doc__.partition("Its keys:")[2]
    words = [word for line in listed.splitlines() for word in re.split(", ", line[4:45].strip()) if word]
    patterns = [re.sub(r"<\w+>|\\\*", r"\\w+", re.escape(word)) for word in words]
    patterns += [r"probe_\w+_low", r"probe_\w+_high"]
    unknown = [key for key in facts if not any(re.fullmatch(pattern, key) for pattern in patterns)]
    assert not unknown
    assert not any(isinstance(value, dict) for value in facts.values())


def test_sound_data_with_random_labels_give_no_warning(tmp_path):
    random = np.random.default_rng(1)
    items = [(f"{i}.jpg", encoded(scene(i), "JPEG", quality=90), {
        "label": int(random.integers(3)), "split": "train" if i % 3 else "test"}) for i in range(60)]
    found = audited(tmp_path, items)
    assert texts(found) == ""
    assert "no problem found" in "\n".join(audit.report(found, "page")) and found.facts["probe_chance"] == 1 / 3
    assert "No problem found" in audit_page.page(found)


def planted(kind, i, label):
    image = scene(i, 64, 64)
    if kind == "file size":
        return encoded(image, "JPEG", quality=95 - 50 * label)
    if kind == "aspect ratio":
        return encoded(scene(i, 64, 64 + 2 * label), "JPEG", quality=90)
    if kind == "height and width":
        return encoded(scene(i, 64 + 4 * label, 64 + 4 * label), "JPEG", quality=90)
    blurred = Image.fromarray(image).filter(ImageFilter.GaussianBlur(0.8))
    return blurred if not label else image


@pytest.mark.parametrize("kind", ["file size", "aspect ratio", "height and width", "spectrum"])
def test_a_shortcut_is_told(kind, tmp_path):
    items = [(f"{i}.jpg", planted(kind, i, i % 2), {"label": i % 2}) for i in range(60)]
    items = [(path, np.asarray(data) if kind == "spectrum" else data, columns) for path, data, columns in items]
    found = audited(tmp_path, items)
    assert f"The label can be read off the {kind} alone" in texts(found, "look")
    assert found.facts[f"probe_{kind.replace(' ', '_')}_low"] > 0.8


def test_the_source_is_probed_as_well(tmp_path):
    items = [(f"{i}.jpg", planted("file size", i, i % 2), {"label": i // 2 % 2, "source": i % 2}) for i in range(60)]
    found = audited(tmp_path, items)
    assert "The source can be read off the file size alone" in texts(found, "look")
    assert "The label can" not in texts(found) and found.facts["probe_source_file_size"] > 0.95


def test_identities_on_both_sides_are_a_fact(tmp_path):
    items = [(f"{i}.png", scene(i), {"identity": i // 2, "split": ("train", "test")[i % 2]}) for i in range(8)]
    items += [("8.png", scene(8), {"identity": 9, "split": "test"})]
    found = audited(tmp_path, items)
    assert found.facts["shared_identity_train_test"] == 4
    assert "4 of 5 identities of test are also in train" in texts(found, "fact") and not texts(found, "wrong")
    assert "1 of 5 identities have one image only" in texts(found, "look")
    assert found.facts["single_image_classes"] == 1


def test_a_query_among_the_gallery_is_wrong(tmp_path):
    items = [(f"{i}.png", scene(max(i, 1)), {"identity": i // 2, "role": ("query", "gallery")[i % 2]})
             for i in range(8)]
    assert "1 image of query is also in gallery" in texts(audited(tmp_path, items), "wrong")


def test_classes_are_counted(tmp_path):
    counts = {"a": 24, "b": 6, "c": 2}
    items = [(f"{label}{i}.png", scene(hash_of(label, i), 8, 8, 1), {"label": label, "split": "test" if label == "c"
              else "train"}) for label, count in counts.items() for i in range(count)]
    items += [("d.png", scene(5, 8, 8, 1), {"split": "train"})]
    facts = (found := audited(tmp_path, items)).facts
    assert facts["class_names"] == ["a", "b", "c"] and facts["class_counts"] == [24, 6, 2]
    assert facts["class_counts_train"] == [24, 6, 0] and facts["images_train"] == 31 and facts["unlabelled"] == 1
    shares = np.array([24, 6]) / 30                                     # of train
    assert facts["imbalance"] == 4 and facts["effective_classes"] == pytest.approx(np.prod(shares ** -shares))
    assert "1 label has images in test but none in train, such as c" in texts(found, "look")
    assert "1 label has fewer than 5 images, such as c" in texts(found, "look")


def hash_of(label, i):
    return 1000 * ord(label) + i


def test_imbalance_is_told(tmp_path):
    items = [(f"{i}.png", scene(i, 8, 8, 1), {"label": int(i >= 110)}) for i in range(120)]
    assert "0 has 11 times the images of 1; the 2 classes are worth 1.3 equal ones" in texts(audited(tmp_path, items))


def test_several_labels_count_each_and_contradict_only_as_sets(tmp_path):
    labels = ["a|b", "b|a", "a", "b", "a|c", "a"]
    items = [(f"{i}.png", scene(max(0, i - 1)), {"label": label}) for i, label in enumerate(labels)]
    facts = audited(tmp_path, items).facts
    assert facts["class_counts"] == [5, 3, 1] and facts["equal_images"] == 1 and facts["conflicts_label"] == 0


def test_listed_pairs_that_contradict_the_pixels(tmp_path):
    items = [(f"{i}.png", scene(i % 3), {}) for i in range(4)]
    found = audited(tmp_path, items, pairs=[("0.png", "3.png", 0, -1), ("0.png", "1.png", 0, -1)])
    assert found.facts["conflicts_pairs"] == 1 and "called different" in texts(found, "wrong")
    assert found.facts["classes"] == 0 and "neither labels nor identities" in texts(found, "look")
    assert "Images</h2>" in audit_page.page(found)


def test_a_few_outliers_in_raw_numbers_are_told(tmp_path):
    def image(i):
        values = np.random.default_rng(i).random((24, 24, 5)).astype(np.float32)
        values[0, 0, 2] = 500 if i == 3 else 1
        return values
    items = [(f"{i}.npy", image(i), {"label": i % 2}) for i in range(8)]
    found = audited(tmp_path, items)
    assert 400 < found.facts["range_excess"] < 600 and "times as far apart" in texts(found, "look")
    assert "probe_file_size" not in found.facts                         # follows from the shape
    assert "5-band images of float32" in audit_page.page(found)
    quantiles = audited(tmp_path, items, "again", scaling="quantile")
    assert quantiles.facts["range_excess"] < 2 and "times as far apart" not in texts(quantiles)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pictures_are_drawn_in_the_scaling_of_the_data(dtype):
    top = np.iinfo(dtype).max
    pixels = np.array([[[0], [top // 2], [top]]], dtype)
    drawn = audit_page.eight_bit(pixels, {"scaling": {"low": [0.0], "high": [float(top)]}})
    assert drawn.shape == (1, 3, 3) and drawn[0, :, 0].tolist() == [0, 127, 255]
    bands = audit_page.eight_bit(np.zeros((2, 2, 7), dtype), {"scaling": {"low": [0.0] * 7, "high": [1.0] * 7}})
    assert bands.shape == (2, 2, 3)


# The command.

HOSTILE = "<script>alert(1)</script>\" onload='x' \x1b[31m{name}\udcff"


@pytest.fixture
def hostile(tmp_path):
    items = [(f"{HOSTILE}/{i}.png", scene(i // 2), {"label": f"{HOSTILE}{i % 2}", "split": f"{HOSTILE}{i % 3}",
                                                    "case": f"{HOSTILE}{i % 4}"}) for i in range(24)]
    write([Source([*items, (f"{HOSTILE}.png", ValueError(HOSTILE), {})])], tmp_path / "set", shards=1)
    return tmp_path / "set"


def test_names_from_the_data_are_escaped(hostile, capsys):
    code, out, err = run_here(audit, capsys, f"--data={hostile}")
    assert (code, err) == (0, "") and "\x1b" not in out and "\\x1b[31m" in out
    page = (hostile / "audit" / "audit.html").read_text()
    assert "<script" not in page and "&lt;script&gt;" in page
    tags = re.findall(r"<[^>]*>", page.partition("</style>")[2])
    assert not any(re.search(r"\sonload=(?!&)", re.sub(r'"[^"]*"', "", tag)) for tag in tags)
    assert not re.search(r"(src|href)=\"(?!data:)|url\(", page)        # nothing is fetched


def test_the_command_prints_a_verdict_and_the_place_of_the_page(faulty, capsys, tmp_path):
    code, out, _ = run_here(audit, capsys, f"--data={faulty[1]}", f"--out={tmp_path / 'new' / 'out'}")
    lines = out.splitlines()
    assert code == 0 and lines[0] == "set: 37 images, 2 labels; test 14, train 23"
    assert lines[1] == "wrong:" and "look at:" in lines and lines[-1] == f"page: {tmp_path / 'new' / 'out'}/audit.html"
    page = (tmp_path / "new" / "out" / "audit.html").read_text()
    assert page.count("<img") > 20 and len(page) < 2_000_000 and "label differs" in page
    assert not (faulty[1] / "audit").exists()


def test_a_damaged_record_is_told_and_the_others_are_audited(tmp_path, capsys):
    write([Source([(f"{i}.png", scene(i), {"label": i % 2}) for i in range(8)])], tmp_path / "set", shards=1)
    shard, = (tmp_path / "set").glob("*.tfrecord")
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    code, out, _ = run_here(audit, capsys, f"--data={tmp_path / 'set'}")
    assert code == 0 and "1 record of 8 cannot be read: shard set-00000-of-00001.tfrecord, record" in out
    facts = json.loads((tmp_path / "set" / "audit" / "audit.json").read_text())
    assert facts["damaged"] == 1 and facts["images"] == 8
    shard.write_bytes(bytes(len(data)))
    code, _, err = run_here(audit, capsys, f"--data={tmp_path / 'set'}")
    assert code == 1 and err.startswith("error: no record of ") and err.count("\n") == 1


def test_what_is_no_data_folder_is_one_sentence(tmp_path, capsys):
    code, out, err = run_here(audit, capsys, f"--data={tmp_path}")
    assert (code, out) == (1, "") and err.startswith("error: ") and err.count("\n") == 1
