"""Python functions on images -> the TF signatures of a servable SavedModel, pre-processing in the graph."""
import os
import re

import tensorflow as tf

IMAGE_BYTES = 64 * 2**20                          # largest encoded image that is sent to a signature
EXAMPLE_IMAGE = "image"                           # the encoded image's feature in a tf.Example of tfrecords/schema.py


class _ServableModule(tf.Module):
    """What tf.saved_model.save receives: `state` is tracked, the traced functions deliberately are not."""

    def __init__(self, state, functions, classifying):
        super().__init__()
        self.state = state
        # Past tf.Module's tracking: a tracked function would be saved a second time beside its signature.
        object.__setattr__(self, "functions", functions)
        object.__setattr__(self, "classifying", classifying)


def build_module(signatures, decoder, variables):
    """Trace every signature and tie it to the variables it reads.

    An entry {"function": f, "images": 1} becomes two signatures: `<name>` on `image_bytes` (string [n], any
    encoded image) and `<name>_tensor` on `image_tensor` (float32 [n, h, w, C] in data units). Two images are
    named `image_bytes_1`, `image_bytes_2` and `image_tensor_1`, `image_tensor_2` and must be equal in n. Images that
    no encoded form holds (a decoder of `raw` ones) have `<name>_tensor` only. Where the decoder knows images aligned
    by landmarks, `<name>_landmarks` takes whole images with `landmarks` (float32 [n, 5, 2]) and aligns them itself.
    Where f tells classes, `<name>_examples` answers the Classify RPC of TF Serving: `inputs` (string [n], serialised
    tf.Examples, such as the records of `tfrecords.write`) -> `classes` (string [n, K]) and `scores` (float32 [n, K]),
    both in class order, not sorted. f tells classes by its outputs `classes` and `probabilities`, both [n, K]; or by
    `probability` [n] where the entry has "classes": (the other, the one that is probable).
    An entry {"function": f, "inputs": {name: tf.TensorSpec}} becomes `<name>` alone; f is called by keyword.

    Args:    signatures: {name: entry}, the first is also `serving_default`; f takes one or two float32
             [n, H, W, C] in [0, 1] and returns {output name: tensor [n, ...]}.
             decoder: a `tfrecords.decode.Decoder` or its like: .images(string [n], landmarks) and
             .tensor(float32 [n, h, w, C]) -> [n, H, W, C], .channels, .raw and .aligned;
             None where no entry has "images".
             variables: list or dict of what the functions read: tf.Variables, look-up tables, loaded
             SavedModels. No Keras model: Keras would trace and save all of its own call functions as well.
    Returns: tf.Module; `signature_functions` gives what to pass to tf.saved_model.save beside it.
    Raises:  ValueError for a name, an entry or an output that cannot be served.
    """
    if not signatures:
        raise ValueError("`signatures` is empty but must name at least one function to serve.")
    functions, classifying = {}, []

    def add(full_name, function, specs):
        if full_name in functions:
            raise ValueError(f"Signature `{full_name}` is defined twice: `<name>_tensor` and `<name>_examples` are "
                             "made from signatures on images; rename one of the two.")
        functions[full_name] = _trace(full_name, function, specs)

    for name, entry in signatures.items():
        for full_name, (function, specs) in _variants(name, entry, decoder).items():
            add(full_name, function, specs)
        if "images" in entry and _tells_classes(name, entry, functions[f"{name}_tensor"].structured_outputs):
            classifying.append(f"{name}_examples")
            add(classifying[-1], *_on_examples(entry, decoder))
    functions["serving_default"] = next(iter(functions.values()))
    state = dict(variables) if isinstance(variables, dict) else list(variables)
    return _ServableModule(state, functions, tuple(classifying))


def signature_functions(module):
    """{signature name: concrete function} of a module from `build_module`, `serving_default` included."""
    return dict(module.functions)


def classify_signatures(module):
    """Names of the signatures of a module from `build_module` that answer the Classify RPC."""
    return module.classifying


def encoded_image(image):
    """What a signature takes as `image_bytes`: the bytes of an image given as such or as the path of its file.

    Raises: ValueError for an empty image or one of more than 64 MB; OSError for a file that cannot be read.
    """
    if isinstance(image, bytes):
        name, data, size = "An image", image, len(image)
    else:
        name = f"`{os.fspath(image)}`"
        with open(image, "rb") as stream:
            data = stream.read(IMAGE_BYTES + 1)
            size = max(len(data), os.fstat(stream.fileno()).st_size)
    if not data:
        raise ValueError(f"{name} is empty; give the bytes of an encoded image.")
    if size > IMAGE_BYTES:
        raise ValueError(f"{name} has {size:,} bytes but at most {IMAGE_BYTES:,} are sent; use a smaller image.")
    return data


def _variants(name, entry, decoder):
    """{signature name: (function by keyword, {input name: TensorSpec})} of one entry."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or name == "serving_default":
        raise ValueError(f"Signature name `{name}` must be a letter followed by letters, digits or _, and "
                         "not `serving_default` (the first signature gets that name as well).")
    if set(entry) == {"function", "inputs"} and entry["inputs"]:
        return {name: (entry["function"], dict(entry["inputs"]))}
    if set(entry) - {"classes"} != {"function", "images"} or entry["images"] not in (1, 2):
        raise ValueError(f"Signature `{name}` has the entries {sorted(entry)} but must have `function` and "
                         "either `images` (1 or 2; with 1 also `classes`) or `inputs` ({name: tf.TensorSpec}).")
    if decoder is None:
        raise ValueError(f"Signature `{name}` takes images but `decoder` is None; pass "
                         "the decoder used in training.")
    encoded = tf.TensorSpec([None], tf.string)
    raw = tf.TensorSpec([None, None, None, decoder.channels], tf.float32)
    found = {} if decoder.raw else {name: _on_images(entry, {"image_bytes": encoded}, decoder.images)}
    found[f"{name}_tensor"] = _on_images(entry, {"image_tensor": raw}, decoder.tensor)
    if decoder.aligned:
        points = tf.TensorSpec([None, 5, 2], tf.float32)
        found[f"{name}_landmarks"] = _on_images(
            entry, {"image_bytes": encoded, "landmarks": points},
            lambda data, landmarks: decoder.images(data, landmarks=landmarks))
    return found


def _on_images(entry, specs, decode):
    """(function by keyword, {input name: TensorSpec}) of an entry whose images each take these inputs."""
    count = entry["images"]
    groups = [[stem if count == 1 else f"{stem}_{i}" for stem in specs] for i in range(1, count + 1)]
    names = [name for group in groups for name in group]

    def function(**inputs):
        values = [inputs[name] for name in names]
        sizes = [tf.shape(value)[0] for value in values]
        # Before decoding, which is most of the cost. Unchecked, 1 against n would broadcast without a word.
        checks = [tf.debugging.assert_equal(
            size, sizes[0], message=f"`{name}` must hold as many images as `{names[0]}`.")
            for name, size in zip(names[1:], sizes[1:])]
        with tf.control_dependencies(checks):
            values = {name: tf.identity(value) for name, value in zip(names, values)}
        outputs = entry["function"](*[decode(*[values[name] for name in group]) for group in groups])
        if isinstance(outputs, dict):
            _require_batched(outputs)
        return outputs

    return function, dict(zip(names, list(specs.values()) * count))


def _tells_classes(name, entry, outputs):
    """Whether `<name>_examples` can be made of these outputs.   Raises: ValueError where `classes` asks in vain."""
    def has(key, dtype, rank):
        return key in outputs and (outputs[key].dtype, outputs[key].shape.rank) == (dtype, rank)

    if "classes" not in entry:
        return entry["images"] == 1 and has("classes", tf.string, 2) and has("probabilities", tf.float32, 2)
    if entry["images"] != 1 or len(entry["classes"]) != 2 or not has("probability", tf.float32, 1):
        raise ValueError(f"Signature `{name}` has `classes` {entry['classes']!r} but these must be two names, of a "
                         "function of one image with the output `probability`, float32 [n]; correct or leave them out.")
    return True


def _on_examples(entry, decoder):
    """(function by keyword, {input name: TensorSpec}) of an entry that tells classes, on serialised tf.Examples."""
    def function(**inputs):
        feature = {EXAMPLE_IMAGE: tf.io.FixedLenFeature([], tf.string)}
        images = tf.io.parse_example(inputs[tf.saved_model.CLASSIFY_INPUTS], feature)[EXAMPLE_IMAGE]
        outputs = entry["function"](decoder.images(images))
        if "classes" in entry:
            probable = outputs["probability"]
            scores = tf.stack([1.0 - probable, probable], axis=1)
            classes = tf.repeat(tf.constant(entry["classes"])[None], tf.shape(scores)[0], axis=0)
        else:
            scores, classes = outputs["probabilities"], outputs["classes"]
        return {tf.saved_model.CLASSIFY_OUTPUT_CLASSES: classes, tf.saved_model.CLASSIFY_OUTPUT_SCORES: scores}

    return function, {tf.saved_model.CLASSIFY_INPUTS: tf.TensorSpec([None], tf.string)}


def example_of(image):
    """The bytes of a tf.Example that a signature `<name>_examples` takes for an encoded image."""
    example = tf.train.Example()
    example.features.feature[EXAMPLE_IMAGE].bytes_list.value.append(image)
    return example.SerializeToString()


def _require_batched(outputs):
    """TF Serving's batching splits every output along axis 0; one that ignores n fails the whole batch."""
    for name, value in outputs.items():
        shape = tf.convert_to_tensor(value).shape
        if shape.rank == 0 or (shape.rank and shape[0] is not None):
            raise ValueError(f"output `{name}` has shape {shape} but must be [n, ...] with n the number of "
                             "images; repeat a constant with tf.fill([n], value).")


def _trace(name, function, specs):
    def run(**inputs):
        outputs = function(**inputs)
        if not isinstance(outputs, dict) or not outputs:
            raise ValueError(f"it returned {type(outputs).__name__} but must return a dict of tensors.")
        return {key: tf.identity(value, name=key) for key, value in outputs.items()}

    named = {key: tf.TensorSpec(spec.shape, spec.dtype, name=key) for key, spec in specs.items()}
    try:
        return tf.function(run).get_concrete_function(**named)
    except (ValueError, TypeError) as error:
        # AutoGraph wraps what was raised into a page of source lines; its last error line is the cause.
        causes = re.findall(r"^ *(\w*Error: .+)$", str(error), re.MULTILINE) or [str(error)]
        cause = causes[-1].removeprefix("ValueError: ")
        raise ValueError(f"Signature `{name}` cannot be built: {cause}") from error
