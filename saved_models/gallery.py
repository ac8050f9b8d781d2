"""A gallery of enrolled images as a SavedModel version: encoder and vectors in one servable folder."""
import difflib
import hashlib
import json
import os
import re
import sys
import time

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from saved_models import verify
from saved_models.export import export
from tfrecords.examine import Kind, Skipped, examine, size_of, stored
from tfrecords.files import read_file, require_size
from tfrecords.sources.folder import FolderSource, compiled

BATCH = 64                                        # images embedded at once
BATCH_BYTES = 64 * 2**20                          # largest sum of a batch of several
ENCODED = Kind("uint8", False, 0)                 # what most collections are


class Damaged(ValueError):
    """A version that cannot be read as a gallery, or not be loaded."""


def build(model, entries, models, task="gallery", k=10, threshold=None, keep=None, check=True):
    """Embed `entries` with an exported encoder and write the first or next gallery version.

    score(query, entry) = <q, e> / (|q| |e|), with e by `embed` and q by `ask` where the encoder has it, else by
    `embed`; the k highest scores are answered in descending order, equal scores in the order of enrolment; unknown =
    not (best score >= threshold). The search is exact. A query without a direction (NaN, infinite, 0) is unknown and
    answered with NaN and empty names.

    Args:    model: version folder with a signature `embed` (image_bytes string [n] -> embedding [n, D]); one whose
             queries have vectors of their own makes them by `ask`, of the same D.
             entries: iterable of (identity, entry name, image); an image is the bytes of a PNG, JPEG, GIF,
             BMP, WEBP, TIFF, PGM or PPM, or a function that reads them; entry names are unique.
             models, task, keep: as in export.
             k: answers a query, at most the number of entries.
             threshold: cosine in [-1, 1]; None takes that of the encoder's assets/calibration.json, else -1.
             check: False skips the verification of the version written.
    Returns: path of the version, with the signatures `search`, `search_embedding` and, where the encoder has
             `embed_tensor`, `search_tensor`; `search_embedding` takes the q of the score, so vectors of `ask` where
             the encoder has it. Images that cannot be read are left out; assets/gallery.json counts and lists them.
    Raises:  ValueError naming the entry or argument at fault, or where more than 5 % of the images cannot
             be read; nothing is written then.
    """
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise ValueError(f"`k` is {k!r} but must be an integer of at least 1.")
    signatures = verify.describe(verify.serve_graph(verify.read_saved_model(model)))
    if list(signatures.get("embed", {}).get("inputs", ())) != ["image_bytes"]:
        raise ValueError(f"`{model}` has the signatures {sorted(signatures)} but a gallery needs `embed` "
                         "with the input `image_bytes`; pass an embedding version.")
    calibration = _read_json(os.path.join(model, "assets", "calibration.json"), {})
    facts = {"k_wanted": k, "threshold": _checked_threshold(threshold, calibration, model),
             "encoder_sha256": folder_hash(model), "data_sha256": _data_hash(calibration, model)}
    if threshold is None and isinstance(calibration, dict) and isinstance(calibration.get("far"), float):
        facts["threshold_far"] = calibration["far"]
    encoder = _load(model)
    *content, skipped = _embed(encoder, entries, ())
    return _write(encoder, content, {**facts, "skipped": skipped, **_ignored(entries)}, models, task, keep, check)


def enrol(gallery_version, entries, keep=None, check=True):
    """Write the next version: everything in `gallery_version` and the new entries behind it, same encoder.

    Args, Returns, Raises: as in build; a name that is already enrolled is an error.
    """
    models, task, facts = _open(gallery_version)
    vectors, identities, names = load_entries(gallery_version)
    encoder = _load_encoder(gallery_version)
    new_vectors, new_identities, new_names, skipped = _embed(encoder, entries, names)
    content = np.concatenate([vectors, new_vectors]), identities + new_identities, names + new_names
    return _write(encoder, content, {**facts, "skipped": skipped, **_ignored(entries)}, models, task, keep, check)


def remove(gallery_version, identities=(), entries=(), keep=None, check=True):
    """Write the next version without the given identities and entries; neither vectors nor names stay in it.

    Older versions still hold them: keep=1 removes those as well. Where nobody is left, every query is unknown and
    answered with one empty name and NaN, until somebody is enrolled.
    Args:    identities: every entry of these.  entries: single entries by name.
    Returns: path of the new version.
    Raises:  ValueError for a name that is not enrolled (close ones are listed).
    """
    models, task, facts = _open(gallery_version)
    vectors, all_identities, all_names = load_entries(gallery_version)
    if isinstance(identities, str) or isinstance(entries, str):
        raise ValueError("`identities` and `entries` must be lists of names, not one string.")
    identities, entries = set(identities), set(entries)
    if not identities and not entries:
        raise ValueError("`identities` and `entries` are both empty but one of them "
                         "must name what to remove.")
    _require_enrolled("Identity", identities, all_identities)
    _require_enrolled("Entry", entries, all_names)
    rows = [i for i, (identity, name) in enumerate(zip(all_identities, all_names))
            if identity not in identities and name not in entries]
    content = vectors[rows], [all_identities[i] for i in rows], [all_names[i] for i in rows]
    return _write(_load_encoder(gallery_version), content, facts, models, task, keep, check)


def load_entries(gallery_version):
    """(vectors float32 [N, D] of length 1, identities [N], entry names [N]), without loading the graph."""
    try:
        reader = tf.train.load_checkpoint(os.path.join(gallery_version, "variables", "variables"))
        vectors, identities, names = [reader.get_tensor(f"state/{name}/.ATTRIBUTES/VARIABLE_VALUE")
                                      for name in ("vectors", "identities", "entries")]
    except (tf.errors.OpError, ValueError, RuntimeError, LookupError) as error:
        raise Damaged(f"`{gallery_version}` is not a gallery version (its variables hold no vectors); "
                      "pass one written by saved_models.gallery.") from error
    return vectors, *([item.decode("utf-8", "surrogateescape") for item in texts] for texts in (identities, names))


def read_facts(gallery_version):
    """What assets/gallery.json says: k, threshold, count, identities, skipped, ignored ...; None without it."""
    return _read_json(os.path.join(gallery_version, "assets", "gallery.json"), None)


def folder_entries(location, pattern=""):
    """Entries of the images in a folder or a zip: (identity, path, function that reads).

    The images are those of `python -m tfrecords.write --images=... [--pattern=...]`, in the order of their paths,
    which are relative to `location`; len() is known, `ignored` counts those that the pattern leaves out.

    Args:    pattern: regular expression searched in the path; its group `identity`, else `label`, names whose image
             it is. Without one the sub-folder does.
    Raises:  as FolderSource; ValueError for a pattern without these groups and for images without an identity.
    """
    return _FolderEntries(location, pattern)


class _FolderEntries:
    def __init__(self, location, pattern):
        self._source = FolderSource(location, pattern)
        self.ignored = self._source.ignored
        if pattern:
            identity_pattern(pattern)
        nameless = [item.path for item in self._source if not identity_of(item.columns)]
        if nameless and pattern:
            raise ValueError(f"the pattern {pattern!r} finds no identity in {len(nameless):,} of the {len(self):,} "
                             f"images it matches, such as `{nameless[0]}`; change it so that its group is never empty.")
        if nameless:
            where = os.path.join(location, os.path.dirname(nameless[0])).rstrip("/")
            raise ValueError(f"{len(nameless):,} of {len(self):,} images lie directly in `{where}`, such as "
                             f"`{nameless[0]}`, but a sub-folder names the identity; move each into one or give a "
                             "pattern that reads it from the path.")

    def __len__(self):
        return len(self._source)

    def __iter__(self):
        for path, read, columns, *_ in self._source:
            yield identity_of(columns), path, read


def identity_pattern(pattern):
    """The compiled expression that says whose image lies at a path, by its group `identity` or `label`.

    Raises:  ValueError for what is no expression, has neither of them or groups that are no columns.
    """
    expression = compiled(pattern)
    if not {"identity", "label"} & set(expression.groupindex):
        raise ValueError(f"the pattern {pattern!r} has neither a group `identity` nor a group `label`, so nothing "
                         "says whose image it is; add one, such as (?P<identity>...).")
    return expression


def identity_of(groups):
    """Whose image it is, by {group: text}; None or "" where they do not say."""
    return groups.get("identity") or groups.get("label")


def read_image(file):
    """The bytes of an image file.   Raises: OSError, also for more than are read of an image."""
    return read_file(file)


def folder_images(location, pattern=""):
    """The images of a folder or a zip in the order of their paths, as `tfrecords.write` takes them: a FolderSource."""
    return FolderSource(location, pattern)


def decodable(data, kind):
    """Bytes of an image that a served graph can decode, the same or a PNG of the same pixels, and its kind.

    Args:   kind: that of the images before it; None = it is the first.
    Raises: ValueError or OSError with the reason why `tfrecords.write` would skip it.
    """
    require_size(len(data))
    return _decodable(examine(data), kind)[:2]


def sendable(data, kind):
    """As `decodable` but what a server itself would refuse passes, and the number of pixels by the header as well.

    PNGs and JPEGs of 8 bits, once such was the first image, are not decoded here, which takes as long as all the rest:
    the graph refuses the damaged ones.
    """
    require_size(len(data))
    if kind == ENCODED and (data[:3] == b"\xff\xd8\xff" or data[:4] == b"\x89PNG" and data[24:25] != b"\x10"):
        height, width = size_of(data)
        return data, kind, height * width
    return _decodable(examine(data), kind)


def _decodable(image, kind):
    kind = kind or Kind.of(image)
    kind.require(image)
    if kind.raw:
        raise ValueError(f"its pixels are {kind} but an encoded image is grey or colour, of 8 or 16 bits")
    return stored(image, raw=False), kind, image.pixels.shape[0] * image.pixels.shape[1]


def _ignored(entries):
    """The fact about images that a pattern left out, where there are any."""
    ignored = getattr(entries, "ignored", 0)
    return {"ignored": ignored} if ignored else {}


def _embed(encoder, entries, enrolled):
    """(vectors of length 1 [n, D], identities, names) of new entries, and the facts about those skipped."""
    taken, vectors, identities, names, skipped = set(enrolled), [], [], [], Skipped()
    batch, size, kind = [], 0, None

    def embed_batch():
        results = _embed_batch(encoder, [(name, image) for _, name, image in batch])
        for (identity, name, _), result in zip(batch, results):
            if isinstance(result, str):
                skipped.add(name, result)
            else:
                vectors.append(result)
                identities.append(identity)
                names.append(name)
        advance(len(batch))

    with _Progress(len(entries) if hasattr(entries, "__len__") else None) as advance:
        for identity, name, image in entries:
            _require_entry(identity, name, image, taken)
            taken.add(name)
            try:
                image, kind = decodable(image() if callable(image) else image, kind)
            except (ValueError, OSError) as error:
                skipped.add(name, error)
                advance(1)
                continue
            # Also by bytes, so that a batch of huge files cannot fill the memory.
            if batch and (len(batch) == BATCH or size + len(image) > BATCH_BYTES):
                embed_batch()
                batch, size = [], 0
            batch.append((identity, name, image))
            size += len(image)
        if batch:
            embed_batch()
    if not taken - set(enrolled):
        raise ValueError("`entries` is empty but must hold at least one (identity, entry name, image).")
    skipped.judge(len(names))
    return np.stack(vectors), identities, names, skipped.facts()


def _require_entry(identity, name, image, taken):
    if not isinstance(identity, str) or not identity or not isinstance(name, str) or not name:
        raise ValueError(f"Entry {name!r} of identity {identity!r} must have non-empty strings for both.")
    if name in taken:
        raise ValueError(f"Entry `{name}` is enrolled twice but entry names are unique; rename it or remove "
                         "the enrolled one first.")
    if not isinstance(image, bytes) and not callable(image):
        raise ValueError(f"Entry `{name}` must be the bytes of an encoded image, or a function that reads "
                         "them.")


def _embed_batch(encoder, batch):
    """A vector of length 1 for each (entry name, image), or the reason why the graph cannot read it."""
    function = encoder.signatures["embed"]
    try:
        values = function(image_bytes=tf.constant([image for _, image in batch]))["embedding"].numpy()
    except tf.errors.OpError as error:
        if len(batch) > 1:                        # which one? The graph does not say.
            return [result for item in batch for result in _embed_batch(encoder, [item])]
        reason = verify.core_message(error)
        if isinstance(error, tf.errors.InvalidArgumentError):
            return [f"the model cannot read it: {reason}"]
        raise ValueError(f"Entry `{batch[0][0]}` cannot be embedded ({reason}); "
                         "replace the image or leave it out.") from error
    values = values.astype(np.float32)
    lengths = np.linalg.norm(values, axis=-1, keepdims=True)
    for (name, _), length in zip(batch, lengths[:, 0]):
        if not np.isfinite(length) or length == 0.0:
            raise ValueError(f"Entry `{name}` has an embedding of length {length} but it must be finite and "
                             "not 0; leave the image out or check the encoder.")
    return list(values / lengths)


class _Progress:
    """A bar on stderr; where that is no terminal, one closing line if it took more than 2 s."""

    def __init__(self, total):
        console = Console(stderr=True)
        self.bar = Progress(TextColumn("embedding"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                            console=console, transient=True, disable=not console.is_terminal)
        self.task = self.bar.add_task("embedding", total=total)
        self.count = 0

    def __enter__(self):
        self.start = time.monotonic()
        self.bar.start()
        return self.advance

    def advance(self, count):
        self.count += count
        self.bar.advance(self.task, count)

    def __exit__(self, kind, error, trace):
        self.bar.stop()
        seconds = time.monotonic() - self.start
        if kind is None and self.bar.disable and seconds > 2.0:
            print(f"embedding: {self.count:,} images in {seconds:.0f} s", file=sys.stderr)


def _write(encoder, content, facts, models, task, keep, check):
    """Export encoder and content as the next version of `task`."""
    vectors, identities, names = content
    k, threshold = min(facts["k_wanted"], max(1, len(names))), facts["threshold"]
    with tf.device("CPU:0"):                      # no accelerator holds strings
        state = {
            "encoder": encoder,
            "vectors": tf.Variable(vectors, trainable=False, name="vectors"),
            "identities": tf.Variable(_text(identities), trainable=False, name="identities"),
            "entries": tf.Variable(_text(names), trainable=False, name="entries"),
        }

    def search(embedding):
        queries = tf.math.l2_normalize(tf.cast(embedding, tf.float32), axis=-1)
        if not names:                             # as of queries without a direction
            blank = tf.fill([tf.shape(queries)[0], k], "")
            nothing = tf.fill(tf.shape(blank), np.float32(np.nan))
            return {"identities": blank, "scores": nothing, "entries": blank,
                    "unknown": tf.fill(tf.shape(queries)[:1], True)}
        scores, rows = tf.math.top_k(tf.matmul(queries, state["vectors"], transpose_b=True), k)
        # Without a direction the names would be those of whoever was enrolled first. NaN must not meet the threshold:
        # NaN < threshold is False, and TensorFlow's optimizer turns ~(score >= threshold) into that.
        scores = tf.where(tf.norm(queries, axis=-1, keepdims=True) > 0.5, scores, np.nan)
        found = tf.math.is_finite(scores)
        best = tf.where(found, scores, -np.inf)[:, 0]
        return {"identities": tf.where(found, tf.gather(state["identities"], rows), ""), "scores": scores,
                "entries": tf.where(found, tf.gather(state["entries"], rows), ""),
                "unknown": best < threshold}

    def through(signature):
        # A model whose queries have vectors of their own (same dimension) makes them by `ask`.
        asking = signature.replace("embed", "ask")
        function = encoder.signatures[asking if asking in encoder.signatures else signature]
        inputs = dict(function.structured_input_signature[1])

        def search_images(**values):
            return search(function(**values)["embedding"])
        return {"function": search_images, "inputs": inputs}

    signatures = {"search": through("embed")}
    if "embed_tensor" in encoder.signatures:
        signatures["search_tensor"] = through("embed_tensor")
    signatures["search_embedding"] = {
        "function": search, "inputs": {"embedding": tf.TensorSpec([None, vectors.shape[1]], tf.float32)}}
    facts = {**facts, "k": k, "count": len(names), "identities": len(set(identities)),
             "dimension": vectors.shape[1]}
    asking = "ask" if "ask" in encoder.signatures else "embed"
    card = (f"# {facts['count']} entries of {facts['identities']} identities\n\n"
            f"Exact search by the cosine of a query's vector, by the encoder's `{asking}`, and an entry's, by `embed`; "
            f"`search_embedding`\ntakes vectors of `{asking}`. The best {k} of each query, unknown below "
            f"{threshold:g}.\n"
            f"Encoder sha256 {facts['encoder_sha256']}, its data {facts['data_sha256'] or 'not stated'}.\n")
    return export(models, task, signatures, decoder=None, variables=state,
                  assets={"gallery.json": facts, "model_card.md": card}, keep=keep, check=check,
                  warmup=_warmup(encoder, vectors))


def _text(items):
    # File names need not be valid UTF-8; the escape keeps their bytes.
    return tf.constant([item.encode("utf-8", "surrogateescape") for item in items], tf.string)


def _warmup(encoder, vectors):
    """One request a signature, with a made-up picture: an enrolled one would outlive its removal."""
    warmup = {"search_embedding": {"embedding": np.ones([1, vectors.shape[1]], np.float32)}}
    ramp = np.arange(32, dtype=np.uint8)[:, None, None] * np.ones((1, 32, 3), np.uint8) * 8
    image = np.array([tf.io.encode_png(ramp).numpy()], object)
    try:
        encoder.signatures["embed"](image_bytes=tf.constant(image))
    except tf.errors.OpError:                     # an encoder for other pictures, say of six channels
        return warmup
    return {"search": {"image_bytes": image}, **warmup}


def _open(gallery_version):
    """(models, task, facts to carry over) of a gallery version folder."""
    path = os.path.abspath(gallery_version)
    facts = read_facts(path)
    if facts is None or not os.path.basename(path).isdigit():
        raise ValueError(f"`{gallery_version}` is not a gallery version folder (a number that holds "
                         "assets/gallery.json); pass one such as models/gallery/1.")
    try:
        carried = {key: facts[key] for key in ("k_wanted", "threshold", "encoder_sha256", "data_sha256")}
        if "threshold_far" in facts:
            carried["threshold_far"] = facts["threshold_far"]
    except (KeyError, TypeError) as error:
        raise Damaged(f"assets/gallery.json of `{gallery_version}` lacks {error}; "
                      "build the gallery again.") from None
    folder = os.path.dirname(path)
    return os.path.dirname(folder), os.path.basename(folder), carried


def _load_encoder(gallery_version):
    """The encoder as it was loaded when the gallery was built, whatever the number of generations since."""
    return _load(gallery_version).state["encoder"]


def _load(version):
    try:
        return tf.saved_model.load(version)
    except Exception as error:                    # damaged files raise anything, even IndexError
        raise Damaged(f"`{version}` cannot be loaded ({verify.core_message(error)}); export the version "
                      "again.") from error


def _require_enrolled(kind, wanted, enrolled):
    known = sorted(set(enrolled))
    for name in sorted(wanted - set(known)):
        close = difflib.get_close_matches(name, known, n=5, cutoff=0.5) or known[:5]
        raise ValueError(f"{kind} `{name}` is not enrolled; did you mean {', '.join(close)}?")


def _checked_threshold(threshold, calibration, model):
    source = "`threshold`"
    if threshold is None:
        source = f"`threshold` in assets/calibration.json of `{model}`"
        threshold = calibration.get("threshold", -1.0) if isinstance(calibration, dict) else calibration
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not -1.0 <= threshold <= 1.0:
        raise ValueError(f"{source} is {threshold!r} but must be a cosine in [-1, 1].")
    return float(threshold)


def _data_hash(calibration, model):
    """The hash of the encoder's training data, where its calibration or model card states one."""
    if isinstance(calibration, dict) and isinstance(calibration.get("data_sha256"), str):
        return calibration["data_sha256"]
    try:
        file = os.path.join(model, "assets", "model_card.md")
        with open(file, encoding="utf-8", errors="replace") as stream:
            card = stream.read(2**20)
    except OSError:
        return None
    match = re.search(r"(?i)\bdata[ _-]*(?:hash|sha-?256)\b[^\n]{0,40}?\b([0-9a-f]{64})\b", card)
    return match[1] if match else None


def folder_hash(model):
    """sha256 over saved_model.pb and variables/: which encoder made the vectors."""
    digest = hashlib.sha256()
    variables = os.path.join(model, "variables")
    names = sorted(os.listdir(variables)) if os.path.isdir(variables) else []
    for file in [os.path.join(model, "saved_model.pb")] + [os.path.join(variables, name) for name in names]:
        digest.update(f"{os.path.basename(file)} {os.path.getsize(file)}\n".encode())
        with open(file, "rb") as stream:
            while chunk := stream.read(2**20):
                digest.update(chunk)
    return digest.hexdigest()


def _read_json(file, default):
    try:
        with open(file, encoding="utf-8") as stream:
            return json.load(stream)
    except FileNotFoundError:
        return default
    except ValueError as error:
        raise Damaged(f"`{file}` is not valid JSON ({error}); export the version again.") from None
