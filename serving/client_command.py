"""The command of serving.client, which says how it is called: what it checks, asks, prints and writes."""

import contextlib
import dataclasses
import itertools
import json
import os
import sys
import time
from collections.abc import Callable

import numpy as np
from absl import flags

from serving import bulk, folders, labels, targets, vote
from serving.answers import png_size
from serving.channel import connection
from serving.client import ABSENT_SECONDS, CHUNK, Client
from serving.errors import DeadlineExceeded, NotFound, ServingError, Unimplemented
from serving.files import require_place, write_whole
from serving.rows import of_all, of_image, plain

QUIET_SECONDS = 2.0  # work shorter than this shows no progress
LINE_SECONDS = 60.0  # between two lines of progress where no terminal shows a bar
MOST_TOLD = 20  # refused images that are named, of any number


def _embed(client, images, values, facts):
    return _vectors(client.embed, images, values, facts)


def _ask(client, images, values, facts):
    return _vectors(client.ask, images, values, facts)


def _vectors(embed, images, values, facts):
    vectors = np.concatenate([embed(chunk) for chunk in _chunks(images, "embedding")])
    if values.out:
        arrays = {"embeddings": vectors, "images": np.array(images), **(facts or {})}
        write_whole("out", values.out, lambda stream: np.savez(stream, **arrays))
        print(
            f"{len(images)} embeddings of {vectors.shape[1]} numbers written to {values.out}", file=sys.stderr
        )
    return of_all("embed", images, {"embedding": vectors})


def _verify(client, images, values, _):
    if len(images) != 2:
        raise ValueError(f"`verify` got {len(images)} images but compares exactly 2.")
    answer = client.verify(images[0], images[1])
    return [
        {
            "first": images[0],
            "second": images[1],
            **{name: plain(value[0]) for name, value in answer.items()},
        }
    ]


def _groups(images, pattern):
    """What the pattern finds in the paths: [{group: text}], {} where it does not match; and whose images they are."""
    from saved_models.gallery import identity_of, identity_pattern

    expression = identity_pattern(pattern)
    found = [match.groupdict() if (match := expression.search(image)) else {} for image in images]
    return found, [identity_of(groups) or None for groups in found]


def _facts(images, pattern):
    """The arrays of the paths: identities and, where the pattern has such groups, cameras and tracks."""
    found, identities = _groups(images, pattern)
    columns = {"identities": ("identity", identities)}
    for group in ("camera", "track"):
        if any(group in groups for groups in found):
            columns[f"{group}s"] = group, [groups.get(group) for groups in found]
    for group, values in columns.values():
        for image, value in zip(images, values):
            if not value:
                raise ValueError(
                    f"`--pattern` is {pattern} but finds no {group} in `{image}`, the path as it is typed; correct the "
                    "pattern or leave the image out."
                )
    return {name: np.array(values) for name, (_, values) in columns.items()}


def _truths(images, pattern):
    """Whose images the queries are by their paths; None where the pattern does not say."""
    truths = _groups(images, pattern)[1]
    if not any(truths):
        print(
            f"`--pattern` finds no identity in any of the {len(images)} paths as they are typed, such as {images[0]}, "
            "so no answer is framed",
            file=sys.stderr,
        )
    return truths


def _search(client, images, values, truths):
    found = {"identities": [], "scores": [], "entries": [], "unknown": []}
    for chunk in _chunks(images, "searching"):
        for name, value in client.search(chunk).items():
            found[name] += [row[: values.k] for row in value] if value.ndim > 1 else list(value)
    votes = vote.votes(found)
    if values.out:
        from serving import sheet

        shown = votes if vote.telling(votes) else None
        picture, said = sheet.draw(images, found, values.images, truths, shown)
        write_whole("out", values.out, lambda stream: picture.save(stream, "PNG"))
        hint = "" if values.images else "; --images=DIR, what the gallery was built from, shows its images"
        print(f"sheet written to {values.out}: {said}{hint}", file=sys.stderr)
    return of_all("search", images, found)


def _detect(client, images, values, _):
    if values.out:
        from serving import overlay

        # Before the long work: a model without `fake_map` is told at once.
        maps = client.fake_map(images[: overlay.MOST_IMAGES])
    answers = [client.detect(chunk) for chunk in _chunks(images, "detecting")]
    answer = {name: np.concatenate([part[name] for part in answers]) for name in answers[0]}
    if values.out:
        captions = [overlay.of_detection(answer, row) for row in range(len(maps))]
        _draw_overlay("out", values.out, images, maps, captions, overlay.FAKE)
    return of_all("detect", images, answer)


def _draw_overlay(flag, path, *what):
    from serving import overlay

    picture, said = overlay.draw(*what)
    write_whole(flag, path, lambda stream: picture.save(stream, "PNG"))
    print(f"picture written to {path}: {said}", file=sys.stderr)


def _classify(client, images, values, found):
    if values.explain:
        from serving import overlay

        client.require("explain")  # before the long work
    rows, refused, maps, stopped = [], [], [], None
    answers = client.classify_each(found.images)
    with _progress(len(found.images), "classifying", shown=len(found.images) > CHUNK) as advance:
        try:
            while chunk := list(itertools.islice(answers, CHUNK)):
                answered = [pair for pair in chunk if not isinstance(pair[1], Exception)]
                if values.explain and answered and len(maps) < overlay.MOST_IMAGES:
                    wanted = [image for image, _ in answered][: overlay.MOST_IMAGES - len(maps)]
                    maps += list(client.explain(wanted))
                rows += [labels.row_of(image, answer) for image, answer in answered]
                refused += [answer for _, answer in chunk if isinstance(answer, Exception)]
                advance(len(chunk))
        except ServingError as error:
            if not rows:
                raise
            stopped = error  # such as a server that went away: what it said before is shown
    if refused and len(found.images) == 1:
        raise refused[0]
    if maps:
        captions = [overlay.of_label(row) for row in rows[: len(maps)]]
        _draw_overlay("explain", values.explain, [row["image"] for row in rows], maps, captions, overlay.LABEL)
    _tell_each(refused)
    left_out = _left_out(len(refused), found)
    if left_out:
        print("; ".join([f"{_counted(len(rows))} classified", *left_out]), file=sys.stderr)
    _tell_each([stopped] if stopped else [])
    return rows


def _bulk(client, signature, found, values):
    """Asks about any number of images and writes each answer as a line.   Returns: how many were answered."""
    if not values.out:
        return _bulk_lines(client, signature, found, values, lambda row: print(json.dumps(row)), set())
    words = {name: values[name].value for name in ("model", "version", "label", "k")}
    question = {"signature": signature, **words, "images": sorted(found.inputs), "served": _served(client)}
    with bulk.Answers("out", values.out, question) as file:
        for other in file.others:
            print(f"{other} is of other images, another model or version and left as it is", file=sys.stderr)
        before = len(file.done)
        if before:
            print(f"going on after {before:,} answers of an earlier call in {file.part}", file=sys.stderr)
        kept = True
        try:
            answered = _bulk_lines(client, signature, found, values, file.write, file.done)
            file.finish()
            kept = False
        finally:
            if kept and file.kept():
                print(f"what was answered is kept in {file.part}; the same command goes on from there", file=sys.stderr)
    return answered


def _served(client):
    """Number of the version that answers, 0 where the server does not tell it."""
    try:
        return client.served_version()
    except Unimplemented:
        return 0


def _bulk_lines(client, signature, found, values, write, done):
    doing, past = _COMMANDS[signature].lines
    answered, refused, told = len(done), 0, []
    with _progress(found.count, doing, shown=True) as advance:
        advance(len(done))
        try:
            images = (image for image in found if image not in done)
            for image, answer in bulk.answers(client, signature, images, values.in_flight, values.batch):
                if isinstance(answer, Exception):
                    refused += 1
                    told += [answer] if refused <= MOST_TOLD else []
                else:
                    answered += 1
                    write(of_image(signature, image, answer, values.k))
                advance(1)
        except ServingError:
            _tell_each(told)  # what is wrong with all of them is told after it
            raise
    if refused and found.count == 1:
        raise told[0]
    _tell_each(told)
    if refused > len(told):
        print(f"error: {_counted(refused - len(told))} more refused", file=sys.stderr)
    left_out = _left_out(refused, found)
    if left_out or values.out:
        to = f" to {values.out}" if values.out else ""
        print("; ".join([f"{_counted(answered)} {past}{to}", *left_out]), file=sys.stderr)
    return answered


def _generate(client, images, values, _):
    from serving import samples

    folder = values.out if values.out and not values.out.endswith(".png") else None
    rows, kept = [], []
    for seeds in _chunks(range(values.seed, values.seed + values.count), "generating"):
        made = client.generate(len(seeds), seeds.start, values.class_index)
        kept += made[: samples.MOST_IMAGES - len(kept)]
        for seed, image in zip(seeds, made):
            height, width = png_size(image)
            rows.append({"seed": seed, "bytes": len(image), "height": height, "width": width})
            if folder:
                os.makedirs(folder, exist_ok=True)  # not before there is an image
                write_whole("out", os.path.join(folder, f"{seed}.png"), lambda stream, image=image: stream.write(image))
    if folder:
        word, last = ("image", "") if len(rows) == 1 else ("images", f" to {rows[-1]['seed']}.png")
        print(f"{len(rows):,} {word} written to {folder}: {rows[0]['seed']}.png{last}", file=sys.stderr)
    elif values.out:
        picture, said = samples.draw(kept, values.seed, len(rows))
        write_whole("out", values.out, lambda stream: picture.save(stream, "PNG"))
        print(f"sheet written to {values.out}: {said}", file=sys.stderr)
    return rows


def _restore(client, images, values, plan):
    rows, refused = [], []
    try:
        with _progress(len(plan.jobs), "restoring", shown=True) as advance:
            answers = client.restore_each([image for image, _ in plan.jobs], values.scale)
            for (image, file), (_, answer) in zip(plan.jobs, answers):
                if not isinstance(answer, Exception):
                    rows.append(_write_restored(image, file, answer))
                elif len(plan.jobs) == 1:
                    raise answer
                else:
                    refused.append(answer)
                advance(1)
    finally:  # also where the server went away in between
        _tell_restored(plan, rows, refused, values.out)
    return rows


def _write_restored(image, file, answer):
    if os.path.dirname(file):
        os.makedirs(os.path.dirname(file), exist_ok=True)  # not before there is an image
    write_whole("out", file, lambda stream: stream.write(answer))
    height, width = png_size(answer)
    return {"image": image, "out": file, "height": height, "width": width, "bytes": len(answer)}


def _tell_restored(plan, rows, refused, out):
    """What was refused, a line each, then how many images were written and how many files left out, on stderr."""
    if not rows and not refused:
        return
    _tell_each(refused)
    said = f"{_counted(len(rows))} written to {out}"
    if out.endswith(".png"):
        said += f": {rows[0]['height']} x {rows[0]['width']} (height x width)"
    print("; ".join([said, *_left_out(len(refused), plan)]), file=sys.stderr)


def _counted(count):
    return f"{count:,} image{'s' if count != 1 else ''}"


def _tell_each(errors):
    for error in errors:
        print(f"error: {' '.join(str(error).splitlines())}", file=sys.stderr)


def _left_out(refused, found):
    """How many images were refused and what was left out of the folders, in words; found: Plan, Found or Images."""
    parts = [
        (refused, "refused", "refused"),
        (found.others, "file with another ending skipped", "files with other endings skipped"),
        (found.links, "link not followed", "links not followed"),
    ]
    return [f"{count:,} {one if count == 1 else many}" for count, one, many in parts if count]


@dataclasses.dataclass(frozen=True)
class _Command:
    """What sets a command apart.

    ask: (client, images, values, what was read before) -> rows.  model: asked without --model.
    flags: that belong to it.  writes: the flag that names what it draws or writes, and the ending of that file.
    makes: it takes no images.  walks: it takes folders of images.  into_folder: it may write into a folder as well.
    reads: (images, pattern) -> what --pattern reads in the paths.
    lines: what can be written as lines, and how that is called: while it is done, and afterwards.
    """

    ask: Callable
    model: str = "verification"
    flags: tuple = ()
    writes: tuple = ("out", ".png")
    makes: bool = False
    walks: bool = False
    into_folder: bool = False
    reads: Callable = None
    lines: tuple = None


_EMBEDDED = {"flags": ("out", "pattern"), "writes": ("out", ".npz"), "reads": _facts,
             "lines": ("embedding", "embedded")}  # fmt: skip
_COMMANDS = {
    "embed": _Command(_embed, **_EMBEDDED),
    "ask": _Command(_ask, **_EMBEDDED),
    "verify": _Command(_verify),
    "search": _Command(_search, "gallery", ("out", "k", "images", "pattern"), reads=_truths,
                       lines=("searching", "searched")),
    "detect": _Command(_detect, "fake_image_detection", ("out",), lines=("detecting", "examined")),
    "classify": _Command(_classify, "small_sample_diagnosis", ("explain",), ("explain", ".png"), walks=True,
                         lines=("classifying", "classified")),
    "generate": _Command(_generate, "image_generation", ("out", "count", "seed", "class_index"), makes=True,
                         into_folder=True),
    "restore": _Command(_restore, "super_resolution", ("out", "scale"), walks=True, into_folder=True),
}  # fmt: skip
_LINES = ".jsonl"


def _require_out(flag, out, signature):
    """Whether a flag's value is what the command writes and can be made, asked before the work."""
    ending, folder = _COMMANDS[signature].writes[1], os.path.normpath(out)
    if _COMMANDS[signature].into_folder and not out.endswith(ending):
        if os.path.isdir(folder):
            folder = os.path.join(folder, "0.png")  # what is to be made is in it
        elif os.path.splitext(folder)[1]:
            raise ValueError(f"`--{flag}` is {out} but must end in {ending} or, for a folder, have no ending.")
        elif os.path.exists(folder):
            raise NotADirectoryError(f"`--{flag}` is {out} but that is a file; give a folder or FILE{ending}.")
        require_place(flag, folder)
        return
    if not out.endswith(ending):
        raise ValueError(f"`--{flag}` is {out} but must end in {ending}.")
    require_place(flag, out)


def _require_unasked(flag, file, images, signature):
    """Raises: ValueError where what is to be written would take the place of an image that is asked about."""
    if os.path.exists(file) and any(os.path.samefile(file, image) for image in images if os.path.exists(image)):
        raise ValueError(
            f"`--{flag}` is {file} but that is an image to {signature}, which would be overwritten; give another "
            f"--{flag}."
        )


def _wait(client, values, model):
    """Until the model can answer, at most --wait seconds; what is wrong then, the question will say.

    Raises: NotFound where the server is up and has no such model.
    """
    began = time.monotonic()
    try:
        client.wait_ready(min(values.wait, QUIET_SECONDS), ABSENT_SECONDS)
        return
    except DeadlineExceeded as error:
        last = " ".join(error.message.partition("last answer: ")[2].split())
    except NotFound:
        raise
    except ServingError:  # such as a server that tells no status
        return
    if values.wait > QUIET_SECONDS:
        print(
            f"waiting for model {model} on {values.server}, up to {values.wait:g} s ({last})",
            file=sys.stderr,
            flush=True,
        )
        try:
            client.wait_ready(values.wait - (time.monotonic() - began), ABSENT_SECONDS)
        except NotFound:
            raise
        except ServingError:
            pass


def _chunks(images, doing):
    """The images of each request, with their progress."""
    with _progress(len(images), doing, shown=len(images) > CHUNK) as advance:
        for start in range(0, len(images), CHUNK):
            chunk = images[start : start + CHUNK]
            yield chunk
            advance(len(chunk))


@contextlib.contextmanager
def _progress(count, doing, shown):
    """A bar on a terminal where it is to be shown, else a line now and then, and one closing line if it took long.

    Gives what advances it.
    """
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    started = told = time.monotonic()
    done = 0
    console = Console(stderr=True)

    def advance(more):
        nonlocal done, told
        done += more
        progress.advance(task, more)
        if shown and not console.is_terminal and time.monotonic() - told >= LINE_SECONDS:
            told = time.monotonic()
            print(f"{doing}: {done:,} of {count:,} images in {told - started:.0f} s", file=sys.stderr, flush=True)

    with Progress(
        *Progress.get_default_columns(),
        MofNCompleteColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal or not shown,
    ) as progress:
        task = progress.add_task(doing, total=count)
        yield advance
    seconds = time.monotonic() - started
    if seconds > QUIET_SECONDS:
        print(f"{doing}: {count} image{'s' if count > 1 else ''} in {seconds:.1f} s", file=sys.stderr)


def _words(argv):
    """(command, images) of what was typed."""
    if len(argv) < 2 or argv[1] not in _COMMANDS:
        asking, making = ([name for name, one in _COMMANDS.items() if one.makes == makes] for makes in (False, True))
        raise ValueError(
            f"`{argv[1] if len(argv) > 1 else ''}` is not a command; use one of {', '.join(asking)}, followed by "
            f"images, or {', '.join(making)}."
        )
    signature, images = argv[1], argv[2:]
    makes = _COMMANDS[signature].makes
    if images and makes:
        raise ValueError(f"`{images[0]}` follows {signature}, which takes no images but only flags; leave it away.")
    if not images and not makes:
        raise ValueError(f"No image to {signature}; give at least one path.")
    return signature, images


def _writes_lines(values, signature, images):
    """Whether answers are written as they come: to a file of lines, or of a folder to stdout."""
    if not _COMMANDS[signature].lines:
        return False
    if values.out:
        return values.out.endswith(_LINES)
    return bool(values.json and not values.explain and any(os.path.isdir(image) for image in images))


def _require_flags(values, signature, lines):
    """Whether the flags belong to the command and to each other."""
    for flag in ("in_flight", "batch"):
        if values[flag].present and not lines:
            raise ValueError(
                f"`--{flag}` is {values[flag].value} but belongs to JSON lines; give --out=FILE{_LINES} as well, or a "
                "folder with --json."
            )
    if lines and values.out:
        _require_lines(values)
        return
    command = _COMMANDS[signature]
    written, ending = command.writes
    for flag in dict.fromkeys(flag for one in _COMMANDS.values() for flag in one.flags):
        if values[flag].present and flag not in command.flags:
            owners = [name for name, one in _COMMANDS.items() if flag in one.flags]
            instead = f"write --{written}=FILE.png" if flag == "out" != written else "leave it away"
            raise ValueError(f"`--{flag}` belongs to {' and '.join(owners)}; {instead} for {signature}.")
    if signature == "restore" and not values.out:
        raise ValueError(
            "`--out` is missing but restore writes images; give --out=FOLDER, or --out=FILE.png for a single one."
        )
    if values[written].value:
        _require_out(written, values[written].value, signature)
    if values.images and not values.out:
        raise ValueError(f"`--images` is {values.images} but only a sheet shows images; give --out=FILE.png as well.")
    if values.pattern and not values.out:
        use = "a sheet frames answers" if signature == "search" else "a file holds identities"
        raise ValueError(
            f"`--pattern` is {values.pattern} but only {use}; give --out=FILE{ending} as well."
        )
    if values.images and not os.path.isdir(values.images):
        raise FileNotFoundError(
            f"`--images` is {values.images} but must be the folder that the gallery was built from; unpack a zip first."
        )


def _require_lines(values):
    """Whether the flags beside --out=FILE.jsonl belong to it, and the file can be made."""
    for flag in ("explain", "images", "pattern"):
        if values[flag].value:
            raise ValueError(
                f"`--{flag}` is {values[flag].value} but `--out` is {values.out}, which holds answers alone; leave one "
                "of them away."
            )
    require_place("out", values.out)


def _read(values, signature, images, lines):
    """What the command needs to know of the images beside their paths, asked before the first of many requests."""
    command = _COMMANDS[signature]
    for image in images:
        folder = os.path.isdir(image)
        if folder and not command.walks and not lines:
            lines_too = ", or --json for a line of each" if command.lines else ""
            raise FileNotFoundError(
                f"Image `{image}` is a folder; give its images, such as {image.rstrip('/')}/*.png{lines_too}."
            )
        if not folder and not os.path.isfile(image):
            raise FileNotFoundError(f"Image `{image}` is not a file; check the path.")
    if lines:
        if values.out:
            _require_unasked("out", values.out, images, signature)
        return folders.Images(images, signature)
    if signature == "restore":
        return targets.plan(images, values.out)
    read = folders.find(images, signature) if command.walks else None
    flag = command.writes[0]
    if values[flag].value:
        _require_unasked(flag, values[flag].value, read.images if read else images, signature)
    return command.reads(images, values.pattern) if values.pattern else read


def main(argv):
    values = flags.FLAGS
    signature, images = _words(argv)
    lines = _writes_lines(values, signature, images)
    _require_flags(values, signature, lines)
    read = _read(values, signature, images, lines)
    command = _COMMANDS[signature]
    model = values.model or command.model
    with connection(values) as way, Client(way, model, values.timeout, values.version, values.label) as client:
        if values.wait:
            _wait(client, values, model)
        if lines:
            sys.exit(int(_bulk(client, signature, read, values) < read.count))  # what is wrong has been told
        rows = command.ask(client, images, values, read)
    if values.json:
        for row in rows:
            print(json.dumps(row))
    elif rows and (not values.out or signature == "detect"):  # its picture holds the first ones alone, and no threshold
        from serving.tables import print_table

        print_table(signature, rows)
    if command.walks and len(rows) < len(read.images):
        sys.exit(1)  # why, has been told
