"""Does a SavedModel version do, in a process that knows only TensorFlow, what the live model does?

    python -m saved_models.verify --model=DIR [--image=FILE ...]

DIR is a version folder or the folder above it, of which the newest version is taken.
"""
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile

import numpy as np
import tensorflow as tf
from absl import flags
from google.protobuf.message import DecodeError
from rich.console import Console
from tensorflow.core.protobuf import saved_model_pb2

from saved_models import versions
from saved_models.signatures import encoded_image, example_of
from tfrecords import command

TIMEOUT = 900.0                                   # seconds for the whole subprocess
PNG = b"\x89PNG"
MESSAGE_CHARACTERS = 2000                         # of what TensorFlow says of an error
PYTHON_OPS = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}
# Reading or writing a path outside the version folder: works here, fails (or leaks) where it is served. No allow-list
# of stateful ops instead, because ReadFile and many others are not stateful; a test walks TensorFlow's whole registry.
FILE_OPS = {
    "ReadFile", "WriteFile", "MatchingFiles", "WholeFileReader", "WholeFileReaderV2", "TextLineReader",
    "TextLineReaderV2", "FixedLengthRecordReader", "FixedLengthRecordReaderV2", "TFRecordReader", "TFRecordReaderV2",
    "LMDBReader", "RecordInput", "ImmutableConst", "GenerateVocabRemapping", "LoadAndRemapMatrix", "Skipgram",
    "TFRecordDataset", "TFRecordDatasetV2", "TextLineDataset", "FixedLengthRecordDataset",
    "FixedLengthRecordDatasetV2", "CSVDataset", "CSVDatasetV2", "ExperimentalCSVDataset", "SqlDataset",
    "ExperimentalSqlDataset", "LMDBDataset", "ExperimentalLMDBDataset", "MatchingFilesDataset",
    "ExperimentalMatchingFilesDataset", "DatasetToTFRecord", "ExperimentalDatasetToTFRecord", "CacheDataset",
    "CacheDatasetV2", "SnapshotDataset", "SnapshotDatasetV2", "SnapshotDatasetReader", "SnapshotChunkDataset",
    "LoadDataset", "SaveDataset", "SaveDatasetV2", "DistributedSave", "DTensorRestoreV2",
    "CreateSummaryFileWriter", "CreateSummaryDbWriter", "SummaryWriter",    # nothing writes summaries without these
    "DumpTensor", "DebugIdentity", "DebugIdentityV2", "DebugIdentityV3", "DebugNanCount", "DebugNumericSummary",
    "Copy", "CopyHost", "InitializeTRTResource", "SerializeTRTResource", "FileSystemSetConfiguration",
}
NETWORK_OPS = {"DataServiceDataset", "DataServiceDatasetV2", "DataServiceDatasetV3", "DataServiceDatasetV4",
               "RegisterDataset", "RegisterDatasetV2", "RpcClient", "RpcServer"}
# A graph inside a string, where nothing below looks.
HIDDEN_OPS = {"DatasetFromGraph", "MlirPassthroughOp", "TRTEngineOp", "_TPUCompileMlir", "_XlaHostComputeMlir"}
REFUSED = (
    (PYTHON_OPS, "calls back into Python, which no server has; write that step in TensorFlow ops"),
    (FILE_OPS, "touches files outside the version folder; do that before export, not in the graph"),
    (NETWORK_OPS, "talks to other machines; do that before export, not in the graph"),
    (HIDDEN_OPS, "runs a graph that it holds as text, which cannot be inspected; call a tf.function instead"),
)
# Stock ops that touch a file only where this attribute names one: what else it may say, besides its default.
PATH_ATTRIBUTES = {
    "PrintV2": ("output_stream", rb"stdout|stderr|log\((info|warning|error)\)"),
    "DecodeProtoV2": ("descriptor_source", rb"local://|bytes://.*"),
    "EncodeProto": ("descriptor_source", rb"local://|bytes://.*"),
    "FixedUnigramCandidateSampler": ("vocab_file", rb""),
}
CHECKPOINT_OPS = {"Restore", "RestoreSlice", "RestoreV2", "Save", "SaveSlices", "SaveV2",
                  "MergeV2Checkpoints"}
TABLE_OPS = {"InitializeTableFromTextFile", "InitializeTableFromTextFileV2"}
INIT_COLLECTIONS = ("saved_model_main_op", "legacy_init_op")
CALL_OPS = {"PartitionedCall", "StatefulPartitionedCall"}


def check(path, samples, expected=None, tolerance=1e-5):
    """Inspect a version folder, load it as tf.saved_model.load and as TF Serving do, compare what it answers.

    One subprocess that knows only stock TensorFlow does the work, on the CPU (the parent may hold the
    accelerators): it refuses graphs that need Python, unregistered ops, other machines or files outside assets/
    before anything of them runs, then runs `samples` through the object loader and through the session loader (tag
    `serve`).

    Args:    path: version folder.
             samples: {signature: {input: array}}; byte strings in object arrays, because NumPy's own byte
             strings lose trailing zero bytes.
             expected: {signature: {output: array}} of the live model; None compares the two loaders.
             tolerance: largest absolute difference of numeric outputs; strings and booleans must be equal, of PNGs
             their pixels to one level: the last bit of a float decides which way it is rounded.
    Returns: {"signatures": {name: {"inputs", "outputs"}}, "ops": count, "difference": the largest seen,
             "outputs": {signature: {output: array}}}.
    Raises:  ValueError naming op and node, or signature, output and difference.
    """
    read_saved_model(path)
    with tempfile.TemporaryDirectory(prefix="verify-") as folder:
        _write_arrays(os.path.join(folder, "samples.npz"), samples)
        report = _run_bare(os.path.abspath(path), folder)
        outputs = {loader: _read_arrays(os.path.join(folder, f"{loader}.npz"))
                   for loader in ("object", "session")}
    difference = 0.0
    if expected is None:
        names = "session loader", "object loader"
        difference = _compare(outputs["session"], outputs["object"], tolerance, *names)
    else:
        expected = {name: {key: _plain(value) for key, value in values.items()}
                    for name, values in expected.items()}
        for loader, values in outputs.items():
            names = f"{loader} loader", "live model"
            difference = max(difference, _compare(values, expected, tolerance, *names))
    return {**report, "difference": difference, "outputs": outputs["session"]}


def newest_version(path):
    """The version folder that `path` is, or the newest of those in it.   Raises: FileNotFoundError."""
    if "://" in path or os.path.isfile(os.path.join(path, "saved_model.pb")):
        return path
    return versions.latest(*os.path.split(os.path.abspath(path)))


def read_saved_model(path):
    """The parsed saved_model.pb of a version folder, which may be a URI that TensorFlow reads.

    Raises: FileNotFoundError where there is none; ValueError for a damaged one; OSError for an unreadable one.
    """
    file = os.path.join(path, "saved_model.pb")
    try:
        with tf.io.gfile.GFile(file, "rb") as stream:
            return saved_model_pb2.SavedModel.FromString(stream.read())
    except tf.errors.NotFoundError:
        raise FileNotFoundError(f"`{path}` holds no saved_model.pb; pass one version folder such as "
                                "models/verification/1.") from None
    except tf.errors.OpError as error:
        raise OSError(f"`{file}` cannot be read: {core_message(error)}.") from error
    except DecodeError as error:
        raise ValueError(f"`{file}` is not a SavedModel protocol buffer ({error}); "
                         "export the version again.") from None


def serve_graph(model, tags=("serve",)):
    """The MetaGraphDef with just these tags; TF Serving loads the one with `serve`, unless told otherwise."""
    for meta_graph in model.meta_graphs:
        if set(meta_graph.meta_info_def.tags) == set(tags):
            return meta_graph
    found = [sorted(meta_graph.meta_info_def.tags) for meta_graph in model.meta_graphs]
    raise ValueError(f"The SavedModel has graphs with the tags {found} but TF Serving needs one tagged "
                     f"`{','.join(tags)}`; export it with tf.saved_model.save.")


def describe(meta_graph):
    """{signature: {"inputs": {name: [dtype, shape]}, "outputs": ...}}; unknown sizes are None."""
    def tensors(infos):
        return {name: [tf.dtypes.as_dtype(info.dtype).name,
                       None if info.tensor_shape.unknown_rank
                       else [None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim]]
                for name, info in sorted(infos.items())}
    return {name: {"inputs": tensors(signature.inputs), "outputs": tensors(signature.outputs)}
            for name, signature in sorted(meta_graph.signature_def.items()) if not name.startswith("__")}


def core_message(error):
    """What went wrong, in one line without the Python frames, node and function names TensorFlow puts around."""
    text = str(getattr(error, "message", error))[:10 * MESSAGE_CHARACTERS]
    first_of_many = re.search(r"\(0\) [A-Z_]+:\s*(.*?)\s*(?:\n\s*\(1\)|\n\t|\Z)", text, re.DOTALL)
    if "root error(s) found" in text and first_of_many:
        text = first_of_many[1]
    text = re.sub(r"\[\[\{\{node .*?\}\}\]\]|\{\{function_node .*?\}\}|\[Op:[^\]]*\]|^\s*\[\[\S+\]\]\s*$", "", text,
                  flags=re.MULTILINE)
    before, _, frames = text.partition("Traceback (most recent call last)")
    if frames and not before.strip():             # the last line of a traceback names the error
        before = frames.strip().rpartition("\n")[2]
    said, in_frames = "", False
    for line in before.splitlines():
        if line.startswith(("Graph execution error", "Detected at node", "<stack traces unavailable>")):
            in_frames = line.startswith("Detected at node")
        elif line.strip() and not (in_frames and line.startswith("  ")):
            in_frames, line = False, line.strip()
            # A line that begins as a sentence ends the one before it.
            said += (". " if line[0].isupper() and said[-1:].isalnum() else " ") + line
    return " ".join(said.split())[:MESSAGE_CHARACTERS].rstrip(" .") or type(error).__name__


class GraphInspection:
    """Finds what keeps a graph from being served by a process that registers only stock ops.

    Args:    meta_graph: MetaGraphDef.  registered: op name -> bool.
    Call:    () -> number of nodes; raises ValueError naming the first op that is refused and where it stands.
    """

    def __init__(self, meta_graph, registered):
        self.meta_graph = meta_graph
        self.registered = registered
        library = meta_graph.graph_def.library.function
        self.functions = {function.signature.name: function for function in library}
        self.all_nodes = [("", node) for node in meta_graph.graph_def.node]    # also those whose name comes twice
        self.all_nodes += [(function.signature.name, node) for function in library for node in function.node_def]
        self.nodes = {scope: {} for scope in ("", *self.functions)}    # scope -> name -> node
        self.callers = {}                         # function -> [(scope, node)] that call it
        for scope, node in self.all_nodes:
            self.nodes[scope][node.name] = node
            for function in _called(node):
                self.callers.setdefault(function, []).append((scope, node))
        self.assets = {_root_tensor(info.tensor_info.name) for info in meta_graph.asset_file_def}

    def __call__(self):
        checkpoint = self._checkpoint_nodes()
        for scope, node in self.all_nodes:
            place = f"Op `{node.op}` (node `{node.name}`{f' in function `{scope}`' if scope else ''})"
            for ops, rule in REFUSED:
                if node.op in ops:
                    raise ValueError(f"{place} {rule}.")
            if node.op not in self.functions and not self.registered(node.op):
                raise ValueError(f"{place} is not registered by a bare `import tensorflow`; replace the "
                                 "custom op by stock ops.")
            if node.op in CHECKPOINT_OPS and (scope, node.name) not in checkpoint:
                raise ValueError(f"{place} touches files outside the version folder; do that before "
                                 "export, not in the graph.")
            self._require_no_path(node, place)
            if node.op in TABLE_OPS and not self._is_asset(node.input[1], scope, set()):
                raise ValueError(f"{place} fills a look-up table from a file that is not in assets/; "
                                 "build it with tf.lookup.TextFileInitializer and "
                                 "pass the table among `variables`.")
        return len(self.all_nodes)

    def _require_no_path(self, node, place):
        attribute, harmless = PATH_ATTRIBUTES.get(node.op, ("", b""))
        if attribute not in node.attr:            # another op, or the default
            return
        value = node.attr[attribute]
        # A placeholder is filled in by whoever calls the function.
        if value.WhichOneof("value") != "s" or not re.fullmatch(harmless, value.s, re.DOTALL):
            said = value.s.decode("utf-8", "replace")[:200]
            raise ValueError(f"{place} has `{attribute}` {said!r}, which may be a file outside the version folder; "
                             "take it out or leave it at its default.")

    def _checkpoint_nodes(self):
        """(scope, node name) of what saves and restores the version's own variables/, except where it is served."""
        saver, objects = self.meta_graph.saver_def, self.meta_graph.object_graph_def
        served = [info.name for signature in self.meta_graph.signature_def.values()
                  for info in signature.outputs.values()]
        served += [name for key in INIT_COLLECTIONS if key in self.meta_graph.collection_def
                   for name in self.meta_graph.collection_def[key].node_list.value]
        of_objects = [(name, node) for name in objects.concrete_functions for node in self.nodes.get(name, ())]
        own = self._reached([("", name) for name in (saver.save_tensor_name, saver.restore_op_name)])
        return own - self._reached([("", name) for name in served] + of_objects)

    def _reached(self, waiting):
        reached = set()
        while waiting:
            scope, name = waiting.pop()
            name = name.lstrip("^").split(":")[0]
            if (scope, name) in reached or name not in self.nodes[scope]:
                continue
            reached.add((scope, name))
            node = self.nodes[scope][name]
            waiting += [(scope, tensor) for tensor in node.input]
            waiting += [(function, inner) for function in _called(node) for inner in self.nodes.get(function, ())]
        return reached

    def _is_asset(self, tensor, scope, seen):
        """Walks a file name back through calls and variables; True only where every way ends at an asset."""
        name = tensor.split(":")[0]
        if (scope, name) in seen:
            return True                           # a cycle adds no new origin
        seen = seen | {(scope, name)}
        node = self.nodes[scope].get(name)
        if node is None:
            return self._argument_is_asset(name, scope, seen)
        if not scope and _root_tensor(tensor) in self.assets:
            return True
        if node.op in ("Identity", "ReadVariableOp"):
            return self._is_asset(node.input[0], scope, seen)
        if node.op == "VarHandleOp":              # TensorFlow keeps an asset's path in a variable of the root
            assigned = [other.input[1] for other in self.nodes[scope].values()
                        if other.op == "AssignVariableOp" and other.input[0].split(":")[0] == name]
            return bool(assigned) and all(self._is_asset(value, scope, seen) for value in assigned)
        return False

    def _argument_is_asset(self, name, scope, seen):
        arguments = [argument.name for argument in self.functions[scope].signature.input_arg] if scope else []
        if name not in arguments:
            return False
        position = arguments.index(name)
        callers = self.callers.get(scope, [])
        objects = self.meta_graph.object_graph_def
        if not all(node.op in CALL_OPS and self._is_asset(node.input[position], outer, seen)
                   for outer, node in callers):
            return False
        if scope not in objects.concrete_functions:
            return bool(callers)
        # Called by the object loader too, from Python: its captures are the last of its arguments.
        bound = list(objects.concrete_functions[scope].bound_inputs)
        index = position - (len(arguments) - len(bound))
        return 0 <= index and objects.nodes[bound[index]].WhichOneof("kind") == "asset"


def _called(node):
    """Names of the functions that a node calls or hands on."""
    lists = [[value.func] if value.WhichOneof("value") == "func" else value.list.func for value in node.attr.values()]
    return [node.op, *(function.name for functions in lists for function in functions)]


def _root_tensor(name):
    """A tensor of the main graph as TensorFlow compares it: `a` is `a:0`."""
    return name if ":" in name else f"{name}:0"


def require_assets_inside(path, meta_graph):
    """ValueError for an asset whose file name leads out of the version's assets/, also through links."""
    folder = os.path.join(os.path.realpath(path), "assets")
    for info in meta_graph.asset_file_def:
        name = info.filename
        plain = name and "\0" not in name and not {"", ".", ".."} & set(name.split("/"))
        if not plain or os.path.realpath(os.path.join(folder, name)) != os.path.join(folder, name):
            raise ValueError(f"asset_file_def of `{path}` names the file {name!r} but it must be a relative path that "
                             "stays in assets/, without links; export the version again from files of its own.")


def sample_inputs(signatures, images=()):
    """Inputs for every signature that takes only images, also in tf.Examples, and float vectors; others are left out.

    Args:    signatures: from `describe`.  images: encoded images; none = two small made-up PNGs.
    """
    generator = np.random.default_rng(0)
    images = list(images) or [tf.io.encode_png(generator.integers(0, 256, (16, 16, 3), np.uint8)).numpy()
                              for _ in range(2)]
    samples = {}
    for name, signature in signatures.items():
        values = {}
        for key, (dtype, shape) in signature["inputs"].items():
            if dtype == "string" and shape == [None] and key.startswith("image_bytes"):
                values[key] = np.array(images, object)
            elif name.endswith("_examples") and dtype == "string" and shape == [None] and key == "inputs":
                values[key] = np.array([example_of(image) for image in images], object)
            elif dtype == "float32" and shape and len(shape) in (2, 4):
                sizes = [len(images)] + [16 if size is None else size for size in shape[1:]]
                values[key] = generator.uniform(0.0, 255.0, sizes).astype(np.float32)
        if values and len(values) == len(signature["inputs"]):
            samples[name] = values
    return samples


def _run_bare(path, folder):
    """Start the subprocess, wait for it, return its report."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    code = "import sys; sys.path.insert(0, sys.argv[1]); from saved_models import verify; verify._child()"
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    try:
        with Console(stderr=True).status("verifying in a process of its own"):    # seen on a terminal only
            done = subprocess.run([sys.executable, "-c", code, root, path, folder], env=environment,
                                  timeout=TIMEOUT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, check=False)
    except subprocess.TimeoutExpired:
        raise ValueError(f"`{path}` was not verified within {TIMEOUT:.0f} s; "
                         "send fewer or smaller samples.") from None
    report_file = os.path.join(folder, "report.json")
    if not os.path.exists(report_file):
        tail = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["no message"]
        raise ValueError(f"The process that verifies `{path}` ended with code {done.returncode} and no "
                         f"report: {tail[0][:500]}")
    with open(report_file, encoding="utf-8") as stream:
        report = json.load(stream)
    if "error" in report:
        raise ValueError(report["error"])
    return report


def _child():
    """In the subprocess: inspect, load twice, run, leave report.json and one npz a loader."""
    path, folder = sys.argv[2:]
    try:
        report = _inspect_and_run(path, folder)
    except Exception as error:                    # whatever a foreign graph raises is this version's verdict
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        report = {"error": kind + core_message(error)}
    partial = os.path.join(folder, "report.json.part")
    with open(partial, "w", encoding="utf-8") as stream:
        json.dump(report, stream)
    os.replace(partial, os.path.join(folder, "report.json"))


def _inspect_and_run(path, folder):
    from tensorflow.python.framework import op_def_registry  # the only way to ask without creating a node

    meta_graph = serve_graph(read_saved_model(path))
    # Before loading: loading already runs initialisers.
    ops = GraphInspection(meta_graph, lambda name: op_def_registry.get(name) is not None)()
    require_assets_inside(path, meta_graph)
    signatures = describe(meta_graph)
    samples = _read_arrays(os.path.join(folder, "samples.npz"))
    for name, inputs in samples.items():
        if name not in signatures:
            raise ValueError(f"`samples` names signature `{name}` but the version has {sorted(signatures)}.")
        if set(inputs) != set(signatures[name]["inputs"]):
            raise ValueError(f"`samples` gives signature `{name}` the inputs {sorted(inputs)} but it takes "
                             f"{sorted(signatures[name]['inputs'])}.")
    for loader, run in (("object", _object_loader(path)), ("session", _session_loader(path))):
        outputs = {}
        for name, inputs in samples.items():
            try:
                outputs[name] = run(name, inputs)
            except tf.errors.OpError as error:
                raise ValueError(f"Signature `{name}` fails under the {loader} loader: "
                                 f"{core_message(error)}") from error
        _write_arrays(os.path.join(folder, f"{loader}.npz"), outputs)
    return {"signatures": signatures, "ops": ops}


def _object_loader(path):
    loaded = tf.saved_model.load(path, tags=["serve"])

    def run(name, inputs):
        outputs = loaded.signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})
        return {key: value.numpy() for key, value in outputs.items()}
    return run


def _session_loader(path):
    session = tf.compat.v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        meta_graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], path)

    def run(name, inputs):
        signature = meta_graph.signature_def[name]
        return session.run({key: info.name for key, info in signature.outputs.items()},
                           {signature.inputs[key].name: value for key, value in inputs.items()})
    return run


def _plain(value):
    """An array that np.savez can keep without pickle, or an object array of bytes."""
    if not isinstance(value, np.ndarray) and np.asarray(value).dtype.kind == "S":
        value = np.array(value, object)           # before NumPy drops trailing zero bytes
    value = np.asarray(value)
    if value.dtype.kind in "OSU":
        flat = [item.encode("utf-8") if isinstance(item, str) else bytes(item)
                for item in value.ravel().tolist()]
        plain = np.empty(len(flat), object)
        plain[:] = flat
        return plain.reshape(value.shape)
    if value.dtype.kind == "V":                   # bfloat16 and float8 are extension types to NumPy
        return value.astype(np.float32)
    return value


def _write_arrays(file, groups):
    """{group: {name: array}} -> npz without pickle; strings become bytes + lengths."""
    index, arrays = [], {}
    for group, values in groups.items():
        for name, value in values.items():
            value, slot = _plain(value), f"a{len(index)}"
            text = value.dtype.kind == "O"
            index.append([group, name, slot, text])
            if text:
                flat = value.ravel().tolist()
                arrays[f"{slot}_bytes"] = np.frombuffer(b"".join(flat), np.uint8)
                lengths = np.array([len(item) for item in flat], np.int64)
                arrays[f"{slot}_lengths"] = lengths.reshape(value.shape)
            else:
                arrays[slot] = value
    # NumPy drops the trailing NULs of its own string arrays, hence JSON as plain bytes too.
    arrays["index"] = np.frombuffer(json.dumps(index).encode("utf-8"), np.uint8)
    np.savez(file, **arrays)


def _read_arrays(file):
    groups = {}
    with np.load(file, allow_pickle=False) as arrays:
        for group, name, slot, text in json.loads(arrays["index"].tobytes()):
            if text:
                lengths, data = arrays[f"{slot}_lengths"], arrays[f"{slot}_bytes"].tobytes()
                ends = np.cumsum(lengths.ravel()).tolist()
                value = np.empty(lengths.size, object)
                value[:] = [data[end - size:end] for end, size in zip(ends, lengths.ravel().tolist())]
                value = value.reshape(lengths.shape)
            else:
                value = arrays[slot]
            groups.setdefault(group, {})[name] = value
    return groups


def _compare(got, want, tolerance, got_name, want_name):
    """Largest difference over all outputs; ValueError at the first output that differs."""
    largest = 0.0
    for signature, values in want.items():
        missing = set(values) ^ set(got.get(signature, {}))
        if missing:
            raise ValueError(f"Signature `{signature}` has the outputs {sorted(got.get(signature, {}))} "
                             f"under the {got_name} but {sorted(values)} under the {want_name}.")
        for name, right in values.items():
            left = got[signature][name]
            place = f"Output `{name}` of signature `{signature}`"
            if left.shape != right.shape or left.dtype != right.dtype:
                raise ValueError(f"{place} is {left.dtype} {list(left.shape)} under the {got_name} but "
                                 f"{right.dtype} {list(right.shape)} under the {want_name}.")
            if left.dtype.kind in "Ob":
                if not np.array_equal(left, right) and not _same_pictures(left, right):
                    raise ValueError(f"{place} differs between {got_name} and {want_name} in "
                                     f"{int(np.sum(left != right))} of {left.size} values but must be equal.")
                continue
            difference = _largest_difference(left, right)
            if not difference <= tolerance:
                raise ValueError(f"{place} differs by {difference:.3g} between {got_name} and {want_name} "
                                 f"but at most {tolerance:.3g} is allowed.")
            largest = max(largest, difference)
    return largest


def _same_pictures(left, right):
    """Whether both are PNGs whose pixels differ by one level at most."""
    for one, other in zip(left.flat, right.flat):
        if one != other:
            if not all(isinstance(data, bytes) and data.startswith(PNG) for data in (one, other)):
                return False
            one, other = (tf.io.decode_png(data).numpy().astype(int) for data in (one, other))
            if one.shape != other.shape or np.abs(one - other).max() > 1:
                return False
    return True


def _largest_difference(left, right):
    wide = np.complex128 if left.dtype.kind == "c" else np.float64
    left, right = left.astype(wide), right.astype(wide)
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(left - right))
    difference = np.where(np.isnan(difference), np.inf, difference)    # a NaN on one side only
    return float(difference.max(initial=0.0))


def _report(path, images):
    signatures = describe(serve_graph(read_saved_model(path)))
    samples = sample_inputs(signatures, images)
    result = check(path, samples)
    for name, signature in result["signatures"].items():
        print(f"{name}{'' if name in samples else '    (not run: its inputs cannot be made up)'}")
        for side in ("inputs", "outputs"):
            for key, (dtype, shape) in signature[side].items():
                sizes = "any" if shape is None else ", ".join("?" if s is None else str(s) for s in shape)
                print(f"    {side[:-1]:6}  {key:24} {dtype:8} [{sizes}]")
    print(f"{result['ops']} ops, all of them stock TensorFlow; {len(samples)} of {len(result['signatures'])} "
          f"signatures run; largest difference between the two loaders {result['difference']:.3g}")
    print("verdict: can be served")


def define_flags():
    flags.DEFINE_string("model", None, "Version folder, such as models/verification/1, or the folder above it, of "
                        "which the newest version is taken.", required=True)
    flags.DEFINE_multi_string("image", [], "Image file to run through "
                                           "every signature on images (repeatable).")


def main(argv):
    images = [encoded_image(file) for file in flags.FLAGS.image]
    path = flags.FLAGS.model
    with contextlib.suppress(FileNotFoundError):  # the report says what is missing
        path = newest_version(path)
    if path != flags.FLAGS.model:
        print(f"{path} is the newest version in {flags.FLAGS.model}", flush=True)
    _report(path, images)


def start():
    command.run(main, define_flags)


if __name__ == "__main__":
    start()
