"""A live model -> one version folder that appears whole, verified, or not at all."""
import contextlib
import errno
import fcntl
import json
import os
import re
import shutil

import tensorflow as tf
from tensorflow.python.saved_model import fingerprinting_utils
from tensorflow_serving.apis import prediction_log_pb2

from saved_models import verify, versions
from saved_models.signatures import build_module, classify_signatures, example_of, signature_functions

WARMUP_FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")
WARMUP_RECORDS = 1000                             # TF Serving refuses to load a version with more


def export(models, task, signatures, decoder, variables, assets, warmup=None, keep=None, check=True):
    """Write `<models>/<task>/<next integer>/`: saved_model.pb, variables/, assets/, assets.extra/.

    Everything is written, verified and flushed under a hidden name and renamed as the last step, so that a
    server polling the folder never sees half a version. What a kill leaves, the next export removes.

    Args:    models, task: the folder of versions; `task` is also the model name in the warm-up requests.
             signatures, decoder, variables: see signatures.build_module.
             assets: {file name: str, bytes or anything JSON can hold}, copied to assets/.
             warmup: {signature: {input: array}}, one request each, replayed by the server before it serves. What
             warms `<name>` up warms its twin `<name>_examples` up as well.
             keep: afterwards only the newest `keep` versions stay.
             check: samples {signature: {input: array}} on which the reloaded version must answer as the live
             model does (<= 1e-5); True takes the warm-up requests as samples; False skips all verification.
    Returns: path of the new version.
    Raises:  ValueError for a bad argument or a refused model; OSError for a full disk. No version then.
    """
    _require_plain(task, "task")
    if keep is not None:
        versions.require_positive(keep)
    contents = {_require_plain(name, "asset name"): _encode(name, value) for name, value in assets.items()}
    module = build_module(signatures, decoder, variables)
    functions, classifying = signature_functions(module), classify_signatures(module)
    warmup = _with_examples(_checked_requests("warmup", warmup or {}, functions), classifying)
    samples = _checked_requests("check", check, functions) if isinstance(check, dict) else warmup
    requests = _warmup_records(task, warmup, classifying)

    folder = os.path.join(models, task)
    os.makedirs(folder, exist_ok=True)
    remove_abandoned(folder)
    temporary, version, lock = _claim(folder)
    try:
        with _quiet_tensorflow():
            # A version only serves: the gradients of custom-gradient functions would be dead weight.
            options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
            tf.saved_model.save(module, temporary, signatures=functions, options=options)
            _name_methods(temporary, classifying)
        _write_assets(temporary, contents)
        _write_warmup(temporary, requests)
        if check is not False:
            verify.check(temporary, samples, expected=_live_outputs(functions, samples))
        _flush(temporary)
        path = _publish(temporary, folder, version)
    except Exception as error:
        raise _explained(error, task, folder) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)        # already renamed where all went well
        os.close(lock)
    if keep is not None:
        versions.keep(models, task, keep)
    return path


def _require_plain(name, what):
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*", name):
        raise ValueError(f"{what} is `{name}` but must be a plain name of letters, digits, _ . and -, with "
                         "no folder in it.")
    return name


def _encode(name, value):
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8")
    try:
        return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode("utf-8")
    except (TypeError, ValueError) as error:
        raise ValueError(f"asset `{name}` is a {type(value).__name__} that JSON cannot hold ({error}); pass "
                         "str, bytes or plain lists, dicts, finite numbers and strings.") from None


def _checked_requests(kind, requests, functions):
    """`requests` as arrays of the signatures' dtypes; ValueError where one does not fit its signature."""
    checked = {}
    for name, inputs in requests.items():
        if name not in functions:
            raise ValueError(f"`{kind}` names signature `{name}` but the model has {sorted(functions)}.")
        specs = functions[name].structured_input_signature[1]
        if sorted(inputs) != sorted(specs):
            raise ValueError(f"`{kind}` gives signature `{name}` the inputs {sorted(inputs)} but it takes "
                             f"{sorted(specs)}.")
        checked[name] = {key: _checked_input(f"`{kind}`, input `{key}` of `{name}`,", value, specs[key])
                         for key, value in inputs.items()}
    return checked


def _checked_input(place, value, spec):
    try:
        tensor = tf.constant(value, spec.dtype)
    except (TypeError, ValueError, tf.errors.OpError):
        raise ValueError(f"{place} is not of type {spec.dtype.name}.") from None
    if not spec.shape.is_compatible_with(tensor.shape):
        raise ValueError(f"{place} has shape {tensor.shape} but must fit {spec.shape}.")
    return tensor.numpy()


def _with_examples(requests, classifying):
    """The requests, and for each on encoded images of which there is a twin on tf.Examples the same to that."""
    found = dict(requests)
    for twin in classifying:
        inputs = requests.get(twin.removesuffix("_examples"), {})
        if twin not in found and "image_bytes" in inputs:
            examples = [example_of(image) for image in inputs["image_bytes"]]
            found[twin] = {tf.saved_model.CLASSIFY_INPUTS: tf.constant(examples, tf.string).numpy()}
    return found


def _name_methods(path, classifying):
    """Say which signatures answer the Classify RPC: tf.saved_model.save writes that all of them answer Predict."""
    if not classifying:
        return
    updater = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(path)
    for name in classifying:
        updater.replace_method_name(name, tf.saved_model.CLASSIFY_METHOD_NAME, tags="serve")
    updater.save()
    fingerprinting_utils.write_fingerprint(path)      # of the file before it would not fit any more


def _warmup_records(task, warmup, classifying):
    if len(warmup) > WARMUP_RECORDS:
        raise ValueError(f"`warmup` has {len(warmup)} requests but TF Serving loads at most "
                         f"{WARMUP_RECORDS}.")
    records = []
    for signature, inputs in warmup.items():
        log = prediction_log_pb2.PredictionLog()
        request = (log.classify_log if signature in classifying else log.predict_log).request
        request.model_spec.name = task
        request.model_spec.signature_name = signature
        if signature in classifying:
            for example in inputs[tf.saved_model.CLASSIFY_INPUTS]:
                request.input.example_list.examples.add().MergeFromString(example)
        else:
            for name, value in inputs.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        records.append(log.SerializeToString(deterministic=True))
    return records


def _live_outputs(functions, samples):
    outputs = {}
    for name, inputs in samples.items():
        try:
            values = functions[name](**{key: tf.constant(value) for key, value in inputs.items()})
        except tf.errors.InvalidArgumentError as error:
            raise ValueError(f"the live model refuses the sample of signature `{name}`: "
                             f"{verify.core_message(error)}") from error
        outputs[name] = {key: value.numpy() for key, value in values.items()}
    return outputs


def _claim(folder):
    """A locked folder `.exporting-<version>-<pid>` for the next version: path, version, lock."""
    version = max(versions.taken_numbers(folder), default=0) + 1
    while True:
        temporary = os.path.join(folder, f".exporting-{version}-{os.getpid()}")
        try:
            os.mkdir(temporary)
        except FileExistsError:                   # another thread of this process
            version += 1
            continue
        lock = os.open(temporary, os.O_RDONLY)
        with contextlib.suppress(OSError):        # a network file system without locks never cleans up either
            fcntl.flock(lock, fcntl.LOCK_EX)
        return temporary, version, lock


def remove_abandoned(folder):
    """Remove what killed exporters left: their pid is gone and so is their lock.

    The lock decides where containers share the folder, because a pid means nothing outside its own container.
    """
    for name in os.listdir(folder):
        match = re.fullmatch(r"\.exporting-\d+-(\d+)", name)
        if not match or _is_alive(int(match[1])):
            continue
        path = os.path.join(folder, name)
        try:
            lock = os.open(path, os.O_RDONLY)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except OSError:
            pass                                  # still held by an exporter in another container
        finally:
            os.close(lock)


def _is_alive(pid):
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


@contextlib.contextmanager
def _quiet_tensorflow():
    """Without TensorFlow's note that the assets lie in the hidden folder, which is gone a moment later."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("WARNING")
    try:
        yield
    finally:
        logger.setLevel(level)


def _write_assets(path, contents):
    # After tf.saved_model.save, which fills assets/ with the look-up files of the graph.
    folder = os.path.join(path, "assets")
    os.makedirs(folder, exist_ok=True)
    for name, data in contents.items():
        try:
            with open(os.path.join(folder, name), "xb") as stream:
                stream.write(data)
        except FileExistsError:
            raise ValueError(f"asset `{name}` has the name of a look-up file "
                             "of the graph; rename one.") from None


def _write_warmup(path, records):
    if not records:
        return
    file = os.path.join(path, WARMUP_FILE)
    os.makedirs(os.path.dirname(file), exist_ok=True)
    with tf.io.TFRecordWriter(file) as writer:
        for record in records:
            writer.write(record)


def _flush(path):
    """fsync every file and folder, so that a power cut after the rename cannot leave an empty file behind."""
    for folder, _, files in os.walk(path, topdown=False):
        for name in [os.path.join(folder, file) for file in files] + [folder]:
            _fsync(name)


def _fsync(name):
    descriptor = os.open(name, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _publish(temporary, folder, version):
    while True:
        path = os.path.join(folder, str(version))
        try:
            os.rename(temporary, path)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
            version += 1                          # another exporter was faster
            continue
        _fsync(folder)
        return path


def _explained(error, task, folder):
    """The same fault as one sentence of a type that commands catch."""
    text = verify.core_message(error)
    number = getattr(error, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error):
        full = OSError(f"No version of `{task}` was written: the disk of `{folder}` is full; free space or "
                       "export to another folder.")
        full.errno = errno.ENOSPC
        return full
    if isinstance(error, OSError):
        return type(error)(f"No version of `{task}` was written to `{folder}`: {text}")
    return ValueError(f"No version of `{task}` was written: {text}")
