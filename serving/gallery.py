"""Build and change a searchable gallery; each change is a new version, which a running server picks up.

    python -m serving.gallery build  --model=DIR --images=PHOTOS --models=DIR [--k=10] [--threshold=0.6]
    python -m serving.gallery enrol  --gallery=DIR --images=PHOTOS
    python -m serving.gallery enrol  --gallery=DIR --identity=NAME IMAGE...
    python -m serving.gallery remove --gallery=DIR --identity=NAME [--identity=NAME ...] [--entry=NAME ...]
    python -m serving.gallery erase  --gallery=DIR --identity=NAME [--identity=NAME ...] [--entry=NAME ...]

enrol, remove and erase take --server=HOST:PORT [--task=gallery] in place of --gallery=DIR: the embedded server, started
with --enable_gallery_changes, changes what it serves, and the command ends once the new version does. Older versions
than --keep=2 are removed then, unless a label names them; with --gallery=DIR all stay unless --keep=N says otherwise.
--tls and the flags beside it are those of serving.client. Several commands and servers may change a gallery: they wait
for each other, up to a minute, and each goes on from the version written last.

erase is remove for good: the older versions go as well, and every file that is left is searched for the vectors
(--proof=FILE.json keeps what was searched); it fails where one is found. A server refuses where a label names a version
that has to go; with --gallery=DIR no labels are known. An erase that was interrupted is asked again and goes on, also
where only older versions hold the names. A gallery of which nobody is left answers `unknown`.

PHOTOS is a folder or a zip with one sub-folder an identity, read by the rules of `tfrecords.write`: one
folder around all others is passed over; images that cannot be read are left out, counted and listed in the
version's assets/gallery.json; more than 5 % of them are an error. For other layouts build and enrol take the
--pattern=REGEX of `tfrecords.write`: its group `identity`, else `label`, says whose image it is, and images
whose path does not match are left out and counted. DIR of --model and --gallery is a version folder or the
folder above it, of which the newest version is taken; erase takes the newest alone. An entry's name is
its path below PHOTOS, or NAME/<file name>. Identities may be diagnoses as well, of similar cases: the search of
serving.client tells their vote.
"""

import contextlib
import functools
import json
import os
import sys

from absl import flags, logging

from saved_models import changes, erasure, gallery, versions
from saved_models.verify import newest_version
from serving import channel
from serving.errors import ServingError
from serving.files import require_place, write_whole
from serving.gallery_client import GalleryClient
from tfrecords import command

SHOWN = 5  # images left out that are named on the screen

WAY = ("server", "tls", "tls_ca", "tls_cert", "tls_key", "compression")

FLAGS_OF = {
    "build": ("model", "images", "pattern", "models", "task", "k", "threshold", "keep"),
    "enrol": ("gallery", *WAY, "task", "images", "pattern", "identity", "keep"),
    "remove": ("gallery", *WAY, "task", "identity", "entry", "keep"),
    "erase": ("gallery", *WAY, "task", "identity", "entry", "proof"),
}


def define_flags():
    flags.DEFINE_string(
        "model", None, "build: embedding model, version folder or the folder of its versions."
    )
    flags.DEFINE_string("models", None, "build: folder that gets <task>/<version>.")
    flags.DEFINE_string("task", "gallery", "build, --server: name of the gallery, and of the model that serves it.")
    flags.DEFINE_string("server", None, "enrol, remove, erase: host:port or unix:/path of the server to change it on.")
    channel.define_flags()
    flags.DEFINE_string("proof", None, "erase: .json that gets what was searched for the vectors.")
    flags.DEFINE_integer("k", 10, "build: entries a search returns.")
    flags.DEFINE_float("threshold", None, "build: best scores below it are unknown; default: the model's.")
    flags.DEFINE_string(
        "gallery", None, "enrol, remove, erase: gallery to change, version folder or folder of versions."
    )
    flags.DEFINE_string("images", None, "build, enrol: folder or zip with one sub-folder an identity.")
    flags.DEFINE_string(
        "pattern",
        "",
        "build, enrol: regular expression searched in each image's path, as in tfrecords.write; its group "
        "identity, else label, says whose image it is.",
    )
    flags.DEFINE_multi_string(
        "identity", [], "enrol: whose images follow; remove: to remove, may be repeated."
    )
    flags.DEFINE_multi_string("entry", [], "remove: single entries by name, may be repeated.")
    flags.DEFINE_integer("keep", None, "Keep only the newest N versions of the gallery; --server: 2 without it.")


def _build(values, images):
    if images:
        raise ValueError(f"`{images[0]}` is one file but build takes a folder or zip; use --images=PHOTOS.")
    models = _required(values, "models")
    with changes.exclusive(os.path.join(models, values.task)):  # else a change on its way would go on without it
        return gallery.build(
            newest_version(_required(values, "model")),
            gallery.folder_entries(_required(values, "images"), values.pattern),
            models,
            task=values.task,
            k=values.k,
            threshold=values.threshold,
            keep=values.keep,
        )


def _enrol(values, images):
    if bool(values.images) == bool(values.identity):
        raise ValueError("enrol takes either --images=PHOTOS or --identity=NAME IMAGE..., and not both.")
    if values.images and images:
        raise ValueError(
            f"`{images[0]}` follows --images=PHOTOS; name whose image it is with --identity=NAME instead."
        )
    if values.pattern and not values.images:
        raise ValueError(
            f"`--pattern` is {values.pattern!r} but --identity says whose images these are; leave one away."
        )
    if values.images:
        return _enrolled(values, gallery.folder_entries(values.images, values.pattern))
    if len(values.identity) > 1:
        raise ValueError(
            f"`--identity` is given {len(values.identity)} times but one enrolment is of one identity."
        )
    if not images:
        raise ValueError(f"No image to enrol for `{values.identity[0]}`; give at least one after the flags.")
    return _enrolled(values, list(_entries(values.identity[0], images)))


def _enrolled(values, entries):
    if values.server:
        with _changes(values) as client:
            return client.enrol(entries, values.keep)
    with _start(values) as start:
        return gallery.enrol(start, entries, keep=values.keep)


@contextlib.contextmanager
def _start(values):
    """The version of --gallery that a change begins at, while nobody else changes the gallery."""
    with changes.change(_required(values, "gallery")) as start:
        newest = newest_version(os.path.dirname(os.path.abspath(start)))
        if start != newest:
            print(f"warning: {start} is not the newest version; what {newest} holds beside it will not be in the next.",
                  file=sys.stderr)  # fmt: skip
        yield start


@contextlib.contextmanager
def _changes(values):
    if values["gallery"].present:
        raise ValueError(f"`--gallery` is of a folder but --server={values.server} changes its own; leave it away.")
    if values.keep is not None:
        versions.require_positive(values.keep)
    with channel.connection(values) as way, GalleryClient(way, values.task) as client:
        yield client


def _remove(values, names):
    identities = values.identity + names  # --identity=A B C reads naturally, so it works
    if not identities and not values.entry:
        raise ValueError("Nothing to remove; name it with --identity=NAME or --entry=NAME.")
    if values.server:
        with _changes(values) as client:
            return client.remove(identities, values.entry, values.keep)
    with _start(values) as start:
        return gallery.remove(start, identities=identities, entries=values.entry, keep=values.keep)


def _erase(values, names):
    identities = values.identity + names
    if not identities and not values.entry:
        raise ValueError("Nothing to erase; name it with --identity=NAME or --entry=NAME.")
    if values.proof:
        require_place("proof", values.proof)
    if values.server:
        with _changes(values) as client:
            found = client.erase(identities, values.entry)
        proof = found["proof"]
    else:
        with _start(values) as start:
            found, proof = erasure.erase(start, identities, values.entry)
    if values.proof:
        text = json.dumps({"identities": identities, "entries": values.entry, **proof}, indent=2) + "\n"
        write_whole("proof", values.proof, lambda stream: stream.write(text.encode()))
    if proof["found"]:
        raise ValueError(
            f"{len(proof['found'])} files still hold a vector that was to be erased ({', '.join(proof['found'][:5])}); "
            "remove these files, and whatever writes them beside this command."
        )
    print(
        f"erased: {proof['vectors']:,} vectors are in none of the {proof['files']:,} files ({proof['bytes']:,} bytes) "
        f"that are left, version {', '.join(map(str, proof['versions']))}"
    )
    return found


_COMMANDS = {"build": _build, "enrol": _enrol, "remove": _remove, "erase": _erase}


def _entries(identity, images):
    for image in images:
        if not os.path.isfile(image):
            raise FileNotFoundError(f"Image `{image}` is not a file; check the path.")
        yield identity, f"{identity}/{os.path.basename(image)}", functools.partial(gallery.read_image, image)


def _required(values, flag):
    if not values[flag].value:
        raise ValueError(f"`--{flag}` is missing; give it as --{flag}=DIR.")
    return values[flag].value


def main(argv):
    values = flags.FLAGS
    # A name that is no valid text in the terminal's encoding must not end the report.
    sys.stdout.reconfigure(errors="backslashreplace")
    if not values["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # an export tells much that is of no use here
    if len(argv) < 2 or argv[1] not in _COMMANDS:
        raise ValueError(
            f"`{argv[1] if len(argv) > 1 else ''}` is not a command; use one of {', '.join(_COMMANDS)}."
        )
    for flag in sorted({"retries"}.union(*FLAGS_OF.values()) - set(FLAGS_OF[argv[1]])):
        if values[flag].present:
            raise ValueError(
                f"`--{flag}` does not belong to {argv[1]}, which takes --"
                f"{', --'.join(FLAGS_OF[argv[1]])}."
            )
    path = _COMMANDS[argv[1]](values, argv[2:])
    if isinstance(path, dict):
        print("\n".join(_told(values, path)))
        return
    facts = gallery.read_facts(path)
    print("\n".join(_report(path, facts)))
    far, count = facts.get("threshold_far", 0.0), facts["count"]
    taken = 1 - (1 - far) ** count
    if taken > 0.1:
        print(
            f"warning: the threshold {facts['threshold']:.3f} is one of pairs, of which about {far:g} pass though they "
            f"differ; among {count:,} entries some {taken:.0%} of strangers would be taken for someone, and more where "
            "the model was judged on few identities. Try it with photos of strangers, and build with a higher "
            "--threshold to answer `unknown` more often.",
            file=sys.stderr,
        )


def _told(values, answer):
    """What a server changed, as lines for people."""
    lines = [f"{values.server}, {values.task} version {answer['version']}: {answer['count']:,} entries of "
             f"{answer['identities']:,} identities"]  # fmt: skip
    if answer["skipped"]:
        lines[0] += f", {_images(len(answer['skipped']))} skipped that cannot be used:"
    return lines + [f"  {entry}: {why}" for entry, why in answer["skipped"][:SHOWN]]


def _report(path, facts):
    """What was written, as lines for people."""
    line = f"{path}: {facts['count']:,} entries of {facts['identities']:,} identities"
    if "skipped" not in facts:  # nothing was read
        return [line]
    count, listed = facts["skipped"]["count"], facts["skipped"]["unreadable"]
    ignored = facts.get("ignored", 0)
    left_out = [f"  {_images(ignored)} left out whose path does not match the pattern"] if ignored else []
    if not count:
        return [line + ", no image skipped", *left_out]
    lines = [f"{line}, {_images(count)} skipped that cannot be used:"]
    lines += [f"  {entry['path']}: {entry['reason']}" for entry in listed[:SHOWN]]
    if count > SHOWN:
        lines.append(f"  and {count - SHOWN:,} more; see {os.path.join(path, 'assets', 'gallery.json')}")
    return lines + left_out


def _images(count):
    return f"{count:,} image{'s' if count > 1 else ''}"


def start():
    command.run(main, define_flags, words=True, errors=(ServingError,))


if __name__ == "__main__":
    start()
