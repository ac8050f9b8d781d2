import numpy as np
import pytest
import tensorflow as tf

from saved_models import signatures, verify
from saved_models.signatures import build_module, classify_signatures, example_of, signature_functions
from tfrecords import decode, schema


def build(model, signatures=None, decoder=None):
    module = build_module(signatures or model.signatures, decoder or model.decoder, model.variables)
    return signature_functions(module)


def test_every_image_signature_has_a_tensor_twin_and_the_first_is_the_default(model):
    functions = build(model)
    assert list(functions) == ["embed", "embed_tensor", "verify", "verify_tensor", "serving_default"]
    assert functions["serving_default"] is functions["embed"]


def test_inputs_have_the_promised_names_types_and_shapes(model):
    specs = {name: function.structured_input_signature[1] for name, function in build(model).items()}
    assert {key: (spec.dtype, spec.shape.as_list()) for key, spec in specs["verify"].items()} == {
        "image_bytes_1": (tf.string, [None]), "image_bytes_2": (tf.string, [None])}
    assert {key: (spec.dtype, spec.shape.as_list()) for key, spec in specs["verify_tensor"].items()} == {
        "image_tensor_1": (tf.float32, [None, None, None, 3]),
        "image_tensor_2": (tf.float32, [None, None, None, 3])}
    assert list(specs["embed"]) == ["image_bytes"] and list(specs["embed_tensor"]) == ["image_tensor"]


def test_bytes_tensor_and_python_function_agree(model, png):
    functions, images = build(model), tf.constant([png(0), png(1)])
    from_bytes = functions["embed"](image_bytes=images)["embedding"]
    pixels = tf.stack([tf.cast(tf.io.decode_png(image), tf.float32) for image in images])
    from_tensor = functions["embed_tensor"](image_tensor=pixels)["embedding"]
    live = model.embed(model.decoder.images(images))["embedding"]
    np.testing.assert_allclose(from_bytes, live, atol=1e-6)
    np.testing.assert_allclose(from_tensor, live, atol=1e-6)


def test_two_images_keep_their_order(model, png):
    def keep_first(a, b):
        return {"out": a}
    signatures = {"first": {"function": keep_first, "images": 2}}
    first, second = tf.constant([png(0)]), tf.constant([png(1)])
    out = build(model, signatures)["first"](image_bytes_1=first, image_bytes_2=second)["out"]
    np.testing.assert_allclose(out, model.decoder.images(first), atol=1e-6)


def test_no_image_gives_no_row(model):
    assert build(model)["embed"](image_bytes=tf.constant([], tf.string))["embedding"].shape == [0, 4]


@pytest.mark.parametrize("sizes", [(1, 2), (2, 1), (0, 2), (2, 3)])
def test_unequal_numbers_of_images_are_refused_in_the_graph(model, png, sizes):
    functions = build(model)
    first, second = [tf.constant([png(i) for i in range(size)], tf.string, [size]) for size in sizes]
    with pytest.raises(tf.errors.InvalidArgumentError, match="`image_bytes_2` must hold as many images as"):
        functions["verify"](image_bytes_1=first, image_bytes_2=second)
    with pytest.raises(tf.errors.InvalidArgumentError, match="`image_tensor_2` must hold as many images as"):
        functions["verify_tensor"](image_tensor_1=tf.zeros([sizes[0], 8, 8, 3]),
                                   image_tensor_2=tf.zeros([sizes[1], 8, 8, 3]))


def test_other_inputs_are_taken_by_name_and_get_no_twin(model):
    spec = tf.TensorSpec([None, 4], tf.float32)

    def total(embedding):
        return {"sum": tf.reduce_sum(embedding, -1)}
    signatures = {"total": {"function": total, "inputs": {"embedding": spec}}}
    functions = signature_functions(build_module(signatures, None, []))
    assert list(functions) == ["total", "serving_default"]
    np.testing.assert_allclose(functions["total"](embedding=tf.ones([2, 4]))["sum"], [4.0, 4.0])


def test_only_variables_are_saved_beside_the_signatures(model, tmp_path):
    module = build_module(model.signatures, model.decoder, model.variables)
    tf.saved_model.save(module, str(tmp_path), signatures=signature_functions(module))
    objects = verify.serve_graph(verify.read_saved_model(str(tmp_path))).object_graph_def
    assert sum(node.WhichOneof("kind") == "variable" for node in objects.nodes) == 1
    assert not any(node.WhichOneof("kind") == "function" for node in objects.nodes)
    assert {child.local_name for child in objects.nodes[0].children} == {"state", "signatures"}


def returning(make):
    return {"function": lambda images: make(images), "images": 1}


ENTRY = returning(lambda images: {"out": tf.reduce_mean(images, [1, 2, 3])})
YES = returning(lambda images: {"probability": tf.reduce_mean(images, [1, 2, 3])})


@pytest.mark.parametrize("signatures, text", [
    ({}, "`signatures` is empty"),
    ({"2nd": ENTRY}, "Signature name `2nd` must be a letter"),
    ({"serving_default": ENTRY}, "not `serving_default`"),
    ({"a": {**ENTRY, "images": 3}}, "Signature `a` has the entries"),
    ({"a": {**ENTRY, "inputs": {"x": tf.TensorSpec([None])}}}, "Signature `a` has the entries"),
    ({"a": {"function": ENTRY["function"], "inputs": {}}}, "Signature `a` has the entries"),
    ({"a": ENTRY, "a_tensor": ENTRY}, "Signature `a_tensor` is defined twice"),
    ({"a": {**ENTRY, "classes": ("no", "yes")}}, r"Signature `a` has `classes` \('no', 'yes'\) but these must be two"),
    ({"a": {**YES, "classes": ("no",)}}, r"Signature `a` has `classes` \('no',\) but these must be two names, of a "),
    ({"a": {**YES, "classes": ("no", "yes")}, "a_examples": ENTRY}, "Signature `a_examples` is defined twice"),
    ({"a": returning(lambda images: images)}, "`a` cannot be built: it returned .*Tensor"),
    ({"a": returning(lambda images: {})}, "`a` cannot be built: it returned dict"),
    ({"a": returning(lambda images: {"out": tf.constant(1.0)})}, r"output `out` has shape \(\)"),
    ({"a": returning(lambda images: {"out": tf.zeros([5])})}, r"output `out` has shape \(5,\)"),
])
def test_what_cannot_be_served_is_refused_with_its_name(model, signatures, text):
    with pytest.raises(ValueError, match=text):
        build_module(signatures, model.decoder, [])


def test_images_need_a_decoder():
    with pytest.raises(ValueError, match="`a` takes images but `decoder` is None"):
        build_module({"a": ENTRY}, None, [])


def test_an_encoded_image_is_given_as_bytes_or_path_and_bounded(tmp_path, png):
    (tmp_path / "a.png").write_bytes(png(0))
    for image in (png(0), tmp_path / "a.png", str(tmp_path / "a.png")):
        assert signatures.encoded_image(image) == png(0)
    with open(tmp_path / "huge.png", "wb") as stream:
        stream.truncate(signatures.IMAGE_BYTES + 1)
    with pytest.raises(ValueError, match="huge.png` has 67,108,865 bytes but at most 67,108,864 are sent; use a sm"):
        signatures.encoded_image(tmp_path / "huge.png")
    with pytest.raises(ValueError, match="An image is empty; give the bytes of an encoded image"):
        signatures.encoded_image(b"")
    with pytest.raises(FileNotFoundError, match="absent.png"):
        signatures.encoded_image(tmp_path / "absent.png")


def test_landmarks_align_whole_images(model, png, monkeypatch):
    monkeypatch.setattr(model.decoder, "aligned", 8)
    functions = build(model)
    points = np.zeros((2, 5, 2), np.float32)
    points[1, 0, 0] = 0.5
    images = tf.constant([png(0), png(1)])
    found = functions["verify_landmarks"](image_bytes_1=images, landmarks_1=points, image_bytes_2=images,
                                          landmarks_2=points[::-1])["score"]
    live = [model.decoder.images(images, landmarks=own) for own in (points, points[::-1])]
    np.testing.assert_allclose(found, model.verify(*live)["score"], atol=1e-5)
    specs = functions["embed_landmarks"].structured_input_signature[1]
    assert specs["landmarks"].shape.as_list() == [None, 5, 2]
    with pytest.raises(tf.errors.InvalidArgumentError, match="`landmarks_1` must hold as many images"):
        functions["verify_landmarks"](image_bytes_1=images, landmarks_1=points[:1], image_bytes_2=images,
                                      landmarks_2=points)


def test_raw_images_are_taken_as_numbers_only(model, monkeypatch):
    monkeypatch.setattr(model.decoder, "raw", True)
    functions = build(model)
    assert sorted(functions) == ["embed_tensor", "serving_default", "verify_tensor"]
    assert list(functions["serving_default"].structured_input_signature[1]) == ["image_tensor"]


def classified(images):
    probabilities = tf.nn.softmax(tf.reduce_mean(images, [1, 2]))
    classes = tf.repeat(tf.constant([["red", "green", "ü"]]), tf.shape(images)[0], axis=0)
    return {"probabilities": probabilities, "classes": classes, "label": classes[:, 0]}


def record(image, **more):
    """A record of our own data folders."""
    return schema.serialize({"image": image, "height": 12, "width": 10, "channels": 3, "index": 0, "path": "a", **more})


def test_what_tells_classes_answers_tf_examples_in_class_order(model, png):
    module = build_module({"classify": returning(classified), **model.signatures}, model.decoder, model.variables)
    functions, images = signature_functions(module), [png(0), png(1)]
    assert classify_signatures(module) == ("classify_examples",) and set(functions) == {
        "classify", "classify_tensor", "classify_examples", "embed", "embed_tensor", "verify", "verify_tensor",
        "serving_default"}
    function = functions["classify_examples"]
    assert function.structured_input_signature[1] == {"inputs": tf.TensorSpec([None], tf.string, name="inputs")}
    found = function(inputs=tf.constant([record(images[0]), record(images[1], label=3, name="b")]))
    wanted = functions["classify"](image_bytes=tf.constant(images))
    assert set(found) == {"classes", "scores"}
    np.testing.assert_array_equal(found["scores"], wanted["probabilities"])
    assert found["classes"].numpy().tolist() == [[b"red", b"green", "ü".encode()]] * 2
    np.testing.assert_array_equal(function(inputs=tf.constant([example_of(images[1])]))["scores"][0],
                                  wanted["probabilities"][1])
    assert function(inputs=tf.constant([], tf.string))["scores"].shape == [0, 3]


def test_two_classes_of_one_probability(model, png):
    def detect(images):
        probability = tf.reduce_mean(images, [1, 2, 3])
        return {"probability": probability, "decision": probability > 0.5}
    entry = {"function": detect, "images": 1, "classes": ("real", "fake")}
    functions, images = build(model, {"detect": entry}), [png(0), png(1)]
    found = functions["detect_examples"](inputs=tf.constant([example_of(image) for image in images]))
    probability = functions["detect"](image_bytes=tf.constant(images))["probability"].numpy()
    np.testing.assert_array_equal(found["scores"], np.stack([1 - probability, probability], axis=1))
    assert found["classes"].numpy().tolist() == [[b"real", b"fake"]] * 2
    assert "detect_examples" not in build(model, {"detect": {"function": detect, "images": 1}})


def test_examples_without_an_image_are_refused(model):
    function = build(model, {"classify": returning(classified)})["classify_examples"]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"Feature: image \(data type: string\) is required but"):
        function(inputs=tf.constant([tf.train.Example().SerializeToString()]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="Could not parse example input"):
        function(inputs=tf.constant([b"no example"]))


def test_records_of_raw_images_are_classified_as_well():
    values = np.random.default_rng(0).uniform(0, 1, (5, 4, 2)).astype(np.float32)
    stored = np.asarray(values.shape, "<i4").tobytes() + values.tobytes()
    decoder = decode.Decoder(4, 2, dtype="float32", raw=True, low=0.0, high=1.0)

    def two(images):
        means = tf.reduce_mean(images, [1, 2])
        return {"probabilities": means, "classes": tf.repeat(tf.constant([["a", "b"]]), tf.shape(means)[0], axis=0)}
    functions = signature_functions(build_module({"classify": returning(two)}, decoder, []))
    assert sorted(functions) == ["classify_examples", "classify_tensor", "serving_default"]
    found = functions["classify_examples"](inputs=tf.constant([example_of(stored)]))["scores"]
    np.testing.assert_allclose(found, functions["classify_tensor"](image_tensor=values[None])["probabilities"],
                               atol=1e-6)
