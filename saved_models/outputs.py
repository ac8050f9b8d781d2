"""Answers over many images as files: shards that appear whole, a journal to go on from, a manifest at the end."""

import base64
import contextlib
import errno
import fcntl
import hashlib
import io
import json
import os
import zipfile

import numpy as np

JOURNAL, MANIFEST = ".progress.jsonl", "manifest.json"
FORMATS = ("npz", "jsonl")
BYTES = "_bytes"                # what ends so is no text, as TF Serving's REST has it
ENDS = "_ends"                  # beside such an output in a .npz: where each row's bytes end
OWN = ("index", "paths", "path")                        # what stands beside the outputs
JOB = {"model_sha256": "model", "data_sha256": "data", "signature": "signature", "outputs": "outputs",
       "inputs": "inputs beside the images", "format": "format", "rows_per_shard": "size of the shards"}
_EPOCH = (1980, 1, 1, 0, 0, 0)  # of the arrays in a .npz: equal answers give equal bytes


class Shards:
    """The shards of one job in a folder of their own, each written under a temporary name and renamed.

    Until `finish` writes the manifest, a hidden journal says what is done: killed at any moment, the next process with
    the same job finds every finished shard, checked by its sha256. One process at a time.

    Args:    folder: made where it is missing.
    Raises:  ValueError for a folder that holds something else, or that another process writes to.
    """

    def __init__(self, folder):
        self.folder = folder
        if os.path.isfile(folder):
            raise ValueError(f"`{folder}` is a file but --out must be a folder; give another name.")
        os.makedirs(folder, exist_ok=True)
        self._lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                os.close(self._lock)
                raise ValueError(f"`{folder}` is being written by another process; wait for it or give another "
                                 "--out.") from None            # else a file system without locks
        self._journal = None
        self.job, self.done, self.finished = self._found()

    def _found(self):
        """(job or None, {number: entry of a sound shard}, whether the manifest is there)."""
        manifest = os.path.join(self.folder, MANIFEST)
        try:
            with open(manifest, encoding="utf-8") as stream:
                found = json.load(stream)
            job, entries = {key: found[key] for key in JOB}, found["shards"]
            return job, self._sound(entries), True
        except FileNotFoundError:
            pass
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"`{manifest}` is no manifest of answers; give a new or empty folder as --out.") from None
        job, *entries = _json_lines(os.path.join(self.folder, JOURNAL)) or [None]
        if job is None:
            foreign = sorted(name for name in os.listdir(self.folder) if not name.startswith("."))
            if foreign:
                raise ValueError(f"`{self.folder}` holds files that are no answers, such as `{foreign[0]}`; give a new "
                                 "or empty folder as --out.")
        return job, self._sound(entries), False

    def _sound(self, entries):
        found = {}
        for entry in entries:
            path = os.path.join(self.folder, entry["file"])
            with contextlib.suppress(OSError):
                if os.path.getsize(path) == entry["bytes"] and file_sha256(path) == entry["sha256"]:
                    found[entry["number"]] = entry
        return found

    def require(self, job):
        """Raises: ValueError where the folder holds answers of a job that differs in one of these facts."""
        for key, value in job.items():
            if self.job is not None and self.job[key] != value:
                was, now = (str(one)[:16 if key.endswith("sha256") else 100] for one in (self.job[key], value))
                raise ValueError(f"`{self.folder}` holds answers of another job: its {JOB[key]} is {was} and not "
                                 f"{now}; give another --out, or delete it to begin anew.")

    def start(self, job):
        """Begins the job, or goes on with it.   Args: job: every fact of JOB."""
        self.require(job)
        self.job = {key: job[key] for key in JOB}     # in this order
        for name in os.listdir(self.folder):
            if name.startswith(".") and name.endswith(".part"):     # of a process that was killed
                os.remove(os.path.join(self.folder, name))
        journal = os.path.join(self.folder, JOURNAL)
        lines = [self.job, *(entry for _, entry in sorted(self.done.items()))]
        self._put(JOURNAL, "".join(json.dumps(line) + "\n" for line in lines).encode())
        if self.finished:                       # a shard of it is missing or damaged
            os.remove(os.path.join(self.folder, MANIFEST))
            self.finished = False
        self._journal = open(journal, "a", encoding="utf-8")

    def add(self, number, file, data, **facts):
        """One finished shard.   Args: file: its name.  data: its bytes.  facts: what else its entry says."""
        self._put(file, data)
        entry = {"number": number, "file": file, **facts, "bytes": len(data), "sha256": _sha256(data)}
        with self._explained():
            self._journal.write(json.dumps(entry) + "\n")
            self._journal.flush()
            os.fsync(self._journal.fileno())
        self.done[number] = entry

    def finish(self, facts):
        """Writes the manifest: the job, facts and every shard in order; returns it."""
        manifest = {**self.job, **facts, "shards": [entry for _, entry in sorted(self.done.items())]}
        self._put(MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())
        self.finished = True
        os.remove(os.path.join(self.folder, JOURNAL))
        return manifest

    def manifest(self):
        with open(os.path.join(self.folder, MANIFEST), encoding="utf-8") as stream:
            return json.load(stream)

    def close(self):
        if self._journal:
            self._journal.close()
        os.close(self._lock)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _put(self, name, data):
        temporary = os.path.join(self.folder, f".{name.lstrip('.')}.part")
        with self._explained():
            with open(temporary, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, os.path.join(self.folder, name))

    @contextlib.contextmanager
    def _explained(self):
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise OSError(f"the disk of `{self.folder}` is full after {len(self.done):,} shards; free space and give "
                          "the same command, which goes on from there.") from error


def packed(form, index, paths, outputs):
    """The bytes of a shard.

    Args:    form: of FORMATS.  index: int64 [n].  paths: [n] str.  outputs: {name: array [n, ...]}, of dtype object
             for strings (bytes).
    """
    return (_npz if form == "npz" else _jsonl)(index, paths, outputs)


def _npz(index, paths, outputs):
    arrays = {"index": np.asarray(index, np.int64), "paths": _texts(paths)}
    for name, value in outputs.items():
        if value.dtype != object:
            arrays[name] = value
        elif name.endswith(BYTES):
            flat = value.ravel().tolist()
            arrays[name] = np.frombuffer(b"".join(flat), np.uint8)
            ends = np.cumsum([len(item) for item in flat], dtype=np.int64)
            arrays[name + ENDS] = ends.reshape(value.shape)
        else:
            texts = [item.decode("utf-8", "surrogateescape") for item in value.ravel()]
            arrays[name] = _texts(texts).reshape(value.shape)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, value in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            # Texts take 4 bytes a character, padded to the longest.
            entry.compress_type = zipfile.ZIP_DEFLATED if value.dtype.kind == "U" else zipfile.ZIP_STORED
            with archive.open(entry, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.ascontiguousarray(value), allow_pickle=False)
    return stream.getbuffer()


def _texts(texts):
    return np.array(texts, str) if len(texts) else np.zeros(0, "<U1")


def _jsonl(index, paths, outputs):
    columns = {"index": np.asarray(index).tolist(), "path": list(paths),
               **{name: _json_values(name, value) for name, value in outputs.items()}}
    lines = (json.dumps(dict(zip(columns, row)), allow_nan=False) for row in zip(*columns.values()))
    return "".join(f"{line}\n" for line in lines).encode()


def _json_values(name, value):
    """Rows as JSON has them: what is not finite as null, bytes as TF Serving's {"b64": text}."""
    if value.dtype == object:
        if name.endswith(BYTES):
            texts = [{"b64": base64.b64encode(item).decode()} for item in value.ravel()]
        else:
            texts = [item.decode("utf-8", "surrogateescape") for item in value.ravel()]
        found = np.empty(value.size, object)
        found[:] = texts
        return found.reshape(value.shape).tolist()
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        return np.where(np.isfinite(value), value.astype(object), None).tolist()
    return value.tolist()


def load(folder):
    """The answers of a finished folder, shard by shard: {"index", "paths", output: array [n, ...]}; of .npz alone.

    Outputs that end in `_bytes` are arrays of dtype object of bytes, as the signature gave them.
    """
    with open(os.path.join(folder, MANIFEST), encoding="utf-8") as stream:
        manifest = json.load(stream)
    if manifest["format"] != "npz":
        raise ValueError(f"`{folder}` holds {manifest['format']} files but this reads npz; read them line by line.")
    for shard in manifest["shards"]:
        with np.load(os.path.join(folder, shard["file"]), allow_pickle=False) as file:
            arrays = dict(file)
        for name in [name for name in arrays if name.endswith(BYTES + ENDS)]:
            ends, data = arrays.pop(name), arrays[name.removesuffix(ENDS)].tobytes()
            found, start = np.empty(ends.size, object), 0
            for place, end in enumerate(ends.ravel().tolist()):
                found[place], start = data[start:end], end
            arrays[name.removesuffix(ENDS)] = found.reshape(ends.shape)
        yield arrays


def file_sha256(path):
    """sha256 of a file as 64 hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sha256(data):
    return hashlib.sha256(data).hexdigest()


def _json_lines(path):
    """The values of a file's lines, up to the first that is cut off or damaged; [] without the file."""
    found = []
    with contextlib.suppress(FileNotFoundError, ValueError), open(path, encoding="utf-8") as stream:
        for line in stream:
            if not line.endswith("\n"):
                break
            found.append(json.loads(line))
    return found
