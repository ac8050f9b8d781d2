import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import op_def_pb2, types_pb2
from tensorflow.python.client import pywrap_tf_session
from tensorflow.python.framework import op_def_registry

from saved_models import verify
from tests.tfrecords.here import run_here


def inspect(path_or_meta_graph):
    meta_graph = path_or_meta_graph
    if isinstance(meta_graph, (str, Path)):
        meta_graph = verify.serve_graph(verify.read_saved_model(str(path_or_meta_graph)))
    return verify.GraphInspection(meta_graph, lambda name: op_def_registry.get(name) is not None)()


def save(path, function, spec=None, **tracked):
    module = tf.Module()
    for name, value in tracked.items():
        setattr(module, name, value)
    spec = spec or tf.TensorSpec([None], tf.string, name="text")
    concrete = tf.function(function).get_concrete_function(spec)
    tf.saved_model.save(module, str(path), signatures={"serving_default": concrete})
    return str(path)


def rewrite(path, target, change):
    """Copy a version's saved_model.pb with every node changed by `change(node)`."""
    model = verify.read_saved_model(path)
    graph = model.meta_graphs[0].graph_def
    for node in [*graph.node, *(node for function in graph.library.function for node in function.node_def)]:
        change(node)
    target.mkdir()
    (target / "saved_model.pb").write_bytes(model.SerializeToString())
    return str(target)


@pytest.fixture(scope="module")
def samples(png):
    images = np.array([png(1), png(2)], object)
    return {"embed": {"image_bytes": images},
            "verify": {"image_bytes_1": images, "image_bytes_2": images[::-1]},
            "embed_tensor": {"image_tensor": np.full((1, 5, 6, 3), 7.0, np.float32)}}


def live(version, samples):
    loaded, answers = tf.saved_model.load(version), {}
    for name, inputs in samples.items():
        outputs = loaded.signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})
        answers[name] = {key: value.numpy() for key, value in outputs.items()}
    return answers


@pytest.fixture(scope="module")
def report(version, samples):
    return verify.check(version, samples)


def test_check_returns_what_both_loaders_answer_in_the_bare_process(version, samples, report):
    expected = live(version, samples)
    assert report["difference"] <= 1e-5 and report["ops"] > 50
    assert report["signatures"]["verify"]["outputs"]["decision"] == ["bool", [None]]
    assert list(report["outputs"]) == list(samples)
    text = report["outputs"]["verify"]["text"]
    assert text.tolist() == expected["verify"]["text"].tolist() and text[0].endswith(b"\0")
    vectors = report["outputs"]["embed"]["embedding"]
    np.testing.assert_allclose(vectors, expected["embed"]["embedding"], atol=1e-5)


def test_check_names_signature_output_and_difference(version, samples, report, monkeypatch):
    def answer_again(path, folder):               # the bare process once more, without its start-up
        for loader in ("object", "session"):
            verify._write_arrays(os.path.join(folder, f"{loader}.npz"), report["outputs"])
        return {"signatures": report["signatures"], "ops": report["ops"]}
    monkeypatch.setattr(verify, "_run_bare", answer_again)
    expected = live(version, samples)
    assert verify.check(version, samples, expected)["difference"] <= 1e-5
    expected["embed"]["embedding"][1, 2] += 0.01
    with pytest.raises(ValueError, match="Output `embedding` of signature `embed` differs by 0.01 between "
                                         "object loader and live model but at most 1e-05 is allowed"):
        verify.check(version, samples, expected)


def test_check_refuses_an_op_that_a_bare_process_does_not_register(version, tmp_path):
    def change(node):
        if node.op == "DecodeImage":
            node.op = "FancyDecode"
    path = rewrite(version, tmp_path / "1", change)
    with pytest.raises(ValueError, match=r"Op `FancyDecode` \(node `.*` in function `.*`\) is not registered "
                                         "by a bare `import tensorflow`"):
        verify.check(path, {})


def test_inspection_counts_the_nodes_of_graph_and_functions(version):
    graph = verify.serve_graph(verify.read_saved_model(version)).graph_def
    assert inspect(version) == len(graph.node) + sum(len(f.node_def) for f in graph.library.function)


def shout(text):
    return text


CALLS = {
    "EagerPyFunc": lambda text: tf.py_function(shout, [text], tf.string),
    "PyFunc": lambda text: tf.numpy_function(shout, [text], tf.string),
    "PyFuncStateless": lambda text: tf.numpy_function(shout, [text], tf.string, stateful=False),
}
READS = {
    "ReadFile": lambda text: tf.map_fn(tf.io.read_file, text),
    "MatchingFiles": lambda text: tf.io.matching_files(text),
    "TFRecordDataset": lambda text: tf.data.TFRecordDataset(text).reduce(tf.constant(""), lambda a, b: b),
    "RestoreV2": lambda text: tf.raw_ops.RestoreV2(prefix=text[0], tensor_names=["a"], shape_and_slices=[""],
                                                   dtypes=[tf.float32])[0],
}


@pytest.mark.parametrize("op", CALLS)
def test_inspection_refuses_python_in_the_graph(tmp_path, op):
    path = save(tmp_path, lambda text: {"out": CALLS[op](text)})
    with pytest.raises(ValueError, match=rf"Op `{op}` \(node .*\) calls back into Python"):
        inspect(path)


@pytest.mark.parametrize("op", READS)
def test_inspection_refuses_files_outside_the_version(tmp_path, op):
    path = save(tmp_path, lambda text: {"out": READS[op](text)})
    with pytest.raises(ValueError, match=rf"Op `{op}` \(node .*\) touches files outside the version folder"):
        inspect(path)


def print_to(stream):
    def function(text):
        with tf.control_dependencies([tf.raw_ops.PrintV2(input=text[0], output_stream=stream)]):
            return {"out": tf.identity(text)}
    return function


def write_records(file):
    def function(text):
        data = tf.data.Dataset.from_tensor_slices(text)
        write = tf.raw_ops.DatasetToTFRecord(input_dataset=data._variant_tensor, filename=file, compression_type="")
        with tf.control_dependencies([write]):
            return {"out": tf.identity(text)}
    return function


def inspect_and_run(path, folder, **inputs):
    """What the bare process does, without its start-up."""
    verify._write_arrays(str(folder / "samples.npz"), {"serving_default": inputs})
    return verify._inspect_and_run(path, str(folder))


@pytest.mark.parametrize("op, writer", [("PrintV2", lambda file: print_to(f"file://{file}")),
                                        ("DatasetToTFRecord", lambda file: write_records(str(file)))])
def test_a_writing_graph_is_refused_before_it_runs(tmp_path, op, writer):
    path, file = save(tmp_path / "1", writer(tmp_path / "leak")), tmp_path / "leak"
    with pytest.raises(ValueError, match=rf"Op `{op}` \(node .*outside the version folder"):
        inspect_and_run(path, tmp_path, text=np.array([b"secret"], object))
    assert not file.exists()


def node_graph(op, **attributes):
    """A MetaGraphDef of one node, as a foreign tool may write it; values are bytes or, for a placeholder, str."""
    meta_graph = verify.saved_model_pb2.SavedModel().meta_graphs.add()
    node = meta_graph.graph_def.node.add(name="a", op=op)
    for name, value in attributes.items():
        if isinstance(value, str):
            node.attr[name].placeholder = value
        else:
            node.attr[name].s = value
    return meta_graph


@pytest.mark.parametrize("op, attribute, harmless, refused", [
    ("PrintV2", "output_stream", [b"stdout", b"stderr", b"log(info)", b"log(warning)", b"log(error)"],
     [b"file:///tmp/x", b"stdout\n", b"", "filled_in_by_the_caller"]),
    ("DecodeProtoV2", "descriptor_source", [b"local://", b"bytes://\n\xff"], [b"/tmp/x", b"x/local://", b""]),
    ("EncodeProto", "descriptor_source", [b"local://"], [b"x"]),
    ("FixedUnigramCandidateSampler", "vocab_file", [b""], [b"/tmp/words", "filled_in_by_the_caller"]),
])
def test_inspection_looks_at_the_attribute_that_may_name_a_file(op, attribute, harmless, refused):
    assert inspect(node_graph(op)) == 1
    for value in harmless:
        assert inspect(node_graph(op, **{attribute: value})) == 1
    for value in refused:
        with pytest.raises(ValueError, match=rf"Op `{op}` \(node `a`\) has `{attribute}` '.*', which may be a file"):
            inspect(node_graph(op, **{attribute: value}))


# Stock ops whose names or arguments speak of files, yet none touches one.
HARMLESS = {
    "RegexFullMatch", "RegexReplace", "StaticRegexFullMatch", "StaticRegexReplace",       # a pattern of text
    "ShardedFilename", "ShardedFilespec",                                                 # only join strings
    "IdentityReader", "IdentityReaderV2",                                                 # hand on what they are given
    "SetStatsAggregatorDataset", "ExperimentalSetStatsAggregatorDataset",                 # a prefix of counters' names
    "TensorArrayGrad", "TensorArrayGradV2", "TensorArrayGradV3", "TensorArrayGradWithShape",   # a name of gradients
    "RemoteCall",                                                                         # a device of this cluster
    "XlaCallModule", "XlaCustomCall", "XlaCustomCallV2",                                  # code compiled in, by name
    "FlushSummaryWriter", "CloseSummaryWriter",                                           # need an op that is refused
    "StatsAggregatorSetSummaryWriter", "SnapshotNestedDatasetReader",
    "TfLiteSubgraphExecute",                                                              # the key of a loaded graph
}
SPEAKS_OF_FILES = re.compile("file|path|dir|ur[li]|prefix|pattern|address|server|(?<!re)source|region|target|protocol"
                             "|stream|module|graph|segment|debug_ops|scheme|basename")


def stock_ops():
    buffer = pywrap_tf_session.TF_GetAllOpList()
    return op_def_pb2.OpList.FromString(pywrap_tf_session.TF_GetBuffer(buffer)).op


def takes_a_file(op):
    texts = [argument.name for argument in op.input_arg if argument.type == types_pb2.DT_STRING]
    texts += [attribute.name for attribute in op.attr if attribute.type in ("string", "list(string)")
              and not attribute.HasField("allowed_values")]
    return re.search(r"File|Record(?!s)|Reader(V2)?$|SummaryWriter$", op.name) or any(
        SPEAKS_OF_FILES.search(text) for text in texts)


def test_every_stock_op_that_may_name_a_file_is_refused_or_known_to_be_harmless():
    known = set().union(*(ops for ops, _ in verify.REFUSED), verify.PATH_ATTRIBUTES, verify.CHECKPOINT_OPS,
                        verify.TABLE_OPS)
    names = {op.name for op in stock_ops()}
    suspects = {op.name for op in stock_ops() if takes_a_file(op)}
    assert len(names) > 1000 and suspects - known - HARMLESS == set()
    assert known - names == set() and HARMLESS - suspects == set() and HARMLESS & known == set()


def test_inspection_accepts_a_usual_keras_model(tmp_path):
    words = tf.keras.Input([3], dtype=tf.string, name="text")
    x = tf.keras.layers.StringLookup(vocabulary=["one", "two"])(words)
    x = tf.keras.layers.LSTM(2)(tf.keras.layers.Embedding(4, 2)(x))
    x = tf.keras.layers.BatchNormalization()(tf.keras.layers.Dropout(0.5)(x))
    model = tf.keras.Model(words, tf.keras.layers.Dense(1)(x))
    model.compile("adam", "mse")
    model.save(tmp_path / "1", save_format="tf")
    assert inspect(tmp_path / "1") > 100
    assert inspect(save(tmp_path / "2", print_to("stdout"))) > 0


def table_version(path, words):
    table = tf.lookup.StaticHashTable(tf.lookup.TextFileInitializer(
        str(words), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER), -1)
    return save(path, lambda text: {"row": table.lookup(text)}, table=table)


@pytest.fixture
def words(tmp_path):
    (tmp_path / "words.txt").write_text("one\ntwo\n")
    return tmp_path / "words.txt"


def test_inspection_accepts_a_table_from_an_asset_over_two_generations(tmp_path, words):
    first = table_version(tmp_path / "1", words)
    inspect(first)
    loaded = tf.saved_model.load(first)
    second = save(tmp_path / "2", lambda text: loaded.signatures["serving_default"](text), inner=loaded)
    inspect(second)
    words.unlink()
    row = tf.saved_model.load(second).signatures["serving_default"](text=tf.constant(["two", "six"]))["row"]
    assert row.numpy().tolist() == [1, -1]


def test_inspection_refuses_a_table_whose_file_is_no_asset(tmp_path, words):
    table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)

    def fill(text):
        tf.raw_ops.InitializeTableFromTextFileV2(table_handle=table.resource_handle, filename=str(words),
                                                 key_index=-2, value_index=-1)
        return {"row": table.lookup(text)}
    path = save(tmp_path / "1", fill, table=table)
    with pytest.raises(ValueError, match="FromTextFileV2` .* from a file that is not in assets/"):
        inspect(path)


def test_inspection_refuses_a_table_whose_asset_entry_was_taken_out(tmp_path, words):
    model = verify.read_saved_model(table_version(tmp_path / "1", words))
    del model.meta_graphs[0].asset_file_def[:]
    with pytest.raises(ValueError, match="from a file that is not in assets/"):
        inspect(model.meta_graphs[0])


def with_asset_name(path, name):
    file = Path(path) / "saved_model.pb"
    model = verify.read_saved_model(path)
    model.meta_graphs[0].asset_file_def[0].filename = name
    file.write_bytes(model.SerializeToString())
    return model.meta_graphs[0]


def test_a_table_that_reads_above_assets_is_refused(tmp_path, words):
    path = table_version(tmp_path / "models" / "1", words)
    with_asset_name(path, "../../../words.txt")
    text = np.array([b"two"], object)
    with pytest.raises(ValueError, match="names the file '../../../words.txt' but it must be a relative path that "
                                         "stays in assets/"):
        inspect_and_run(path, tmp_path, text=text)
    with_asset_name(path, "words.txt")
    inspect_and_run(path, tmp_path, text=text)
    for loader in ("object", "session"):
        answers = verify._read_arrays(str(tmp_path / f"{loader}.npz"))
        assert answers["serving_default"]["row"].tolist() == [1]


def test_the_savers_own_ops_are_refused_where_a_signature_uses_them(tmp_path):
    variable = tf.Variable([1.0])
    path = save(tmp_path / "1", lambda text: {"out": text, "value": variable + 0.0}, variable=variable)
    meta_graph = verify.serve_graph(verify.read_saved_model(path))
    inspect(meta_graph)
    meta_graph.signature_def["serving_default"].outputs["out"].name = meta_graph.saver_def.save_tensor_name
    with pytest.raises(ValueError, match="Op `(Save|Merge).*` .* touches files outside"):
        inspect(meta_graph)


@pytest.mark.parametrize("name", ["", ".", "..", "/etc/passwd", "a/../words.txt", "./words.txt", "a//words.txt",
                                  "words.txt/", "words.txt\0"])
def test_only_plain_relative_asset_names_pass(tmp_path, words, name):
    path = table_version(tmp_path / "1", words)
    with pytest.raises(ValueError, match="must be a relative path"):
        verify.require_assets_inside(path, with_asset_name(path, name))


def test_assets_that_are_links_out_of_the_folder_are_refused(tmp_path, words):
    path = Path(table_version(tmp_path / "1", words))
    (path / "assets" / "link").symlink_to(words)
    (path / "assets" / "up").symlink_to(tmp_path)
    (path / "assets" / "deeper").mkdir()
    (path / "assets" / "deeper" / "words.txt").touch()
    for name in ("link", "up/words.txt"):
        with pytest.raises(ValueError, match="without links"):
            verify.require_assets_inside(str(path), with_asset_name(path, name))
    verify.require_assets_inside(str(path), with_asset_name(path, "deeper/words.txt"))
    plain = with_asset_name(path, "words.txt")
    (tmp_path / "2").symlink_to(path)             # the version itself may be one
    verify.require_assets_inside(str(tmp_path / "2"), plain)
    (path / "assets").rename(tmp_path / "elsewhere")
    (path / "assets").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="without links"):
        verify.require_assets_inside(str(path), plain)


def test_an_asset_vouches_for_its_own_tensor_only(tmp_path, words):
    meta_graph = verify.serve_graph(verify.read_saved_model(table_version(tmp_path / "1", words)))
    inspect(meta_graph)
    meta_graph.asset_file_def[0].tensor_info.name = meta_graph.asset_file_def[0].tensor_info.name.split(":")[0] + ":1"
    with pytest.raises(ValueError, match="from a file that is not in assets/"):
        inspect(meta_graph)


def initializer(meta_graph):
    """Name of the function that fills the table, and the node that calls it."""
    return next((scope, function) for function in meta_graph.graph_def.library.function
                for scope in [function.signature.name] if any(n.op in verify.TABLE_OPS for n in function.node_def))[0]


def test_a_second_call_of_the_filling_function_is_traced_as_well(tmp_path, words):
    meta_graph = verify.serve_graph(verify.read_saved_model(table_version(tmp_path / "1", words)))
    graph, name = meta_graph.graph_def, initializer(meta_graph)
    graph.node.add(name="branch", op="If").attr["then_branch"].func.name = name
    with pytest.raises(ValueError, match="from a file that is not in assets/"):
        inspect(meta_graph)


def test_what_the_object_loader_hands_to_the_filling_function_is_traced_as_well(tmp_path, words):
    meta_graph = verify.serve_graph(verify.read_saved_model(table_version(tmp_path / "1", words)))
    objects = meta_graph.object_graph_def
    for node in objects.nodes:
        if node.WhichOneof("kind") == "asset":
            node.constant.operation = "elsewhere"
    with pytest.raises(ValueError, match="from a file that is not in assets/"):
        inspect(meta_graph)


def test_a_folder_without_a_readable_saved_model_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no saved_model.pb"):
        verify.check(str(tmp_path), {})
    (tmp_path / "saved_model.pb").write_bytes(b"\xff" * 20)
    with pytest.raises(ValueError, match="saved_model.pb` is not a SavedModel"):
        verify.check(str(tmp_path), {})
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(ValueError, match="TF Serving needs one tagged `serve`"):
        verify.serve_graph(verify.read_saved_model(str(tmp_path)))


def test_arrays_survive_the_hand_over_without_pickle(tmp_path):
    nested = np.empty((2, 2), object)
    nested[:] = [[b"", b"a\0"], [b"\0\0", "ß".encode()]]
    groups = {"a": {"text": nested, "scalar": b"x\0", "list": [b"1\0", b"2"], "words": np.array(["ä", "b"]),
                    "none": np.zeros([0], object),
                    "flag": np.array([True, False])},
              "b": {"half": tf.constant([1.5], tf.bfloat16).numpy(), "number": np.float32(2.5),
                    "long": np.array([2**62, -1])}}
    file = str(tmp_path / "arrays.npz")
    verify._write_arrays(file, groups)
    back = verify._read_arrays(file)
    assert back["a"]["text"].tolist() == nested.tolist() and back["a"]["text"].shape == (2, 2)
    assert back["a"]["scalar"].item() == b"x\0" and back["a"]["list"].tolist() == [b"1\0", b"2"]
    assert back["a"]["words"].tolist() == ["ä".encode(), b"b"] and back["a"]["none"].shape == (0,)
    assert back["a"]["flag"].dtype == bool and back["b"]["long"].tolist() == [2**62, -1]
    assert back["b"]["half"].dtype == np.float32 and back["b"]["half"].tolist() == [1.5]
    assert back["b"]["number"].shape == () and back["b"]["number"] == 2.5


def pictures(*values):
    return np.array([tf.io.encode_png(np.full((2, 3, 1), value, np.uint8)).numpy() for value in values], object)


def test_pngs_may_differ_by_a_level_and_other_strings_not_at_all():
    assert verify._compare({"run": {"out": pictures(7, 9)}}, {"run": {"out": pictures(8, 9)}}, 1e-5, "a", "b") == 0
    for other in (pictures(7, 11), np.array([pictures(7)[0], b"text"], object),
                  np.array([pictures(7)[0], tf.io.encode_png(np.full((3, 2, 1), 9, np.uint8)).numpy()], object)):
        with pytest.raises(ValueError, match="in [12] of 2 values but must be equal"):
            verify._compare({"run": {"out": pictures(7, 9)}}, {"run": {"out": other}}, 1e-5, "a", "b")


@pytest.mark.parametrize("got, want, text", [
    (np.array([1.0, np.nan]), np.array([1.0, 2.0]), "differs by inf"),
    (np.array([0, 255], np.uint8), np.array([255, 255], np.uint8), "differs by 255"),
    (np.array([b"a", b"b"], object), np.array([b"a", b"c"], object), "in 1 of 2 values but must be equal"),
    (np.array([True]), np.array([False]), "in 1 of 1 values but must be equal"),
    (np.zeros([2]), np.zeros([2, 1]), r"is float64 \[2\] under the left but float64 \[2, 1\]"),
    (np.zeros([2]), np.zeros([2], np.float32), "is float64"),
])
def test_every_kind_of_difference_is_found(got, want, text):
    with pytest.raises(ValueError, match=f"Output `out` of signature `run` .*{text}"):
        verify._compare({"run": {"out": got}}, {"run": {"out": want}}, 1e-5, "left", "right")


def test_equal_outputs_pass_and_the_largest_difference_is_returned():
    values = {"nan": np.array([np.nan, np.inf, -np.inf]), "text": np.array([b"a"], object),
              "x": np.array([1.0])}
    near = {**values, "x": np.array([1.0 + 4e-6])}
    assert verify._compare({"run": near}, {"run": values}, 1e-5, "left", "right") == pytest.approx(4e-6)
    with pytest.raises(ValueError, match="has the outputs"):
        verify._compare({}, {"run": values}, 1e-5, "left", "right")


def test_made_up_samples_fit_the_signatures(version, png):
    signatures = verify.describe(verify.serve_graph(verify.read_saved_model(version)))
    samples = verify.sample_inputs(signatures)
    assert set(samples) == set(signatures) and samples["embed_tensor"]["image_tensor"].shape == (2, 16, 16, 3)
    given = verify.sample_inputs(signatures, [png(0)])
    assert given["verify"]["image_bytes_2"].tolist() == [png(0)]
    assert verify.sample_inputs({"odd": {"inputs": {"seed": ["int64", []]}}}) == {}
    told = verify.sample_inputs({"a_examples": {"inputs": {"inputs": ["string", [None]]}}}, [png(0)])
    example = tf.train.Example.FromString(told["a_examples"]["inputs"][0])
    assert example.features.feature["image"].bytes_list.value[:] == [png(0)]


def test_report_of_the_command_lists_signatures_and_verdict(version, png, report, capsys, monkeypatch):
    monkeypatch.setattr(verify, "check", lambda path, samples: report)
    verify._report(version, [png(3)])
    out = capsys.readouterr().out
    assert "verdict: can be served" in out and "5 of 5 signatures run" in out
    assert any(line.split() == ["output", "decision", "bool", "[?]"] for line in out.splitlines())


def test_the_command_takes_the_newest_version_of_a_folder_and_says_which(tmp_path, capsys, monkeypatch):
    for number in ("9", "10"):
        (tmp_path / "toy" / number).mkdir(parents=True)
        (tmp_path / "toy" / number / "saved_model.pb").touch()
    seen = []
    monkeypatch.setattr(verify, "_report", lambda path, images: seen.append(path))
    newest = str(tmp_path / "toy" / "10")
    assert run_here(verify, capsys, f"--model={tmp_path}/toy/") == (
        0, f"{newest} is the newest version in {tmp_path}/toy/\n", "")
    older = str(tmp_path / "toy" / "9")
    assert run_here(verify, capsys, f"--model={older}") == (0, "", "") and seen == [newest, older]


def test_command_answers_a_mistake_with_one_sentence(tmp_path):
    root = Path(verify.__file__).parents[1]
    done = subprocess.run([sys.executable, "-m", "saved_models.verify", f"--model={tmp_path}"], cwd=root,
                          text=True, capture_output=True, timeout=120,
                          env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
    assert done.returncode == 1 and "verdict" not in done.stdout
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_core_message_of_a_real_graph():
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        tf.function(lambda x: tf.io.decode_image(x))(tf.constant(b"nothing"))
    message = verify.core_message(caught.value)
    assert message == "Unknown image file format. One of JPEG, PNG, GIF, BMP required"


@pytest.mark.parametrize("text, core", [
    ("Graph execution error:\n\nDetected at node a/b defined at (most recent call last):\n  File \"x.py\", line 3\n"
     "    y = 1\nsizes differ\nby 2\n\t [[{{node a/b}}]] [Op:__inference_f_1]", "sizes differ by 2"),
    ("no files in /m/variables\n You may be trying to load.", "no files in /m/variables. You may be trying to load"),
    ("too large\n\t [[{{node c}}]]\n\t [[d/_3]]", "too large"),
    ("", "InvalidArgumentError"),
    ("x" * 10**5, "x" * 2000),
])
def test_core_message_is_one_line_without_nodes(text, core):
    assert verify.core_message(tf.errors.InvalidArgumentError(None, None, text)) == core


def test_a_graph_is_found_by_all_its_tags(version):
    model = verify.read_saved_model(version)
    assert verify.serve_graph(model) is model.meta_graphs[0]
    model.meta_graphs[0].meta_info_def.tags.append("gpu")
    assert verify.serve_graph(model, ("gpu", "serve")) is model.meta_graphs[0]
    with pytest.raises(ValueError, match=r"the tags \[\['gpu', 'serve'\]\] but TF Serving needs one tagged `serve`"):
        verify.serve_graph(model)


def test_a_saved_model_that_is_no_file_is_named(tmp_path):
    (tmp_path / "saved_model.pb").mkdir()
    with pytest.raises(OSError, match="saved_model.pb` cannot be read: "):
        verify.read_saved_model(str(tmp_path))
