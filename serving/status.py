"""Errors as answers: in comes whatever a model or TensorFlow raised, out goes a code and a bounded text."""

import re
import urllib.parse

import grpc
import tensorflow as tf

Code = grpc.StatusCode

MESSAGE_CHARACTERS = 2000  # of an error; gRPC carries it in a header of limited size


class StatusError(Exception):
    """An answer that is an error: a gRPC code and a message, independent of the transport."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code, self.message = code, bounded(message)


def invalid(message):
    """StatusError INVALID_ARGUMENT: the request itself is wrong."""
    return StatusError(Code.INVALID_ARGUMENT, message)


def not_found(message):
    """StatusError NOT_FOUND: what the request names is not there."""
    return StatusError(Code.NOT_FOUND, message)


def bounded(message):
    """At most 2,000 characters, fewer where they are not ASCII: gRPC percent-encodes them into a header."""
    message = message[:MESSAGE_CHARACTERS].encode("utf-8", "replace").decode("utf-8")
    while len(urllib.parse.quote(message)) > 3 * MESSAGE_CHARACTERS:
        message = message[: len(message) * 3 // 4]
    return message


def status_of(error):
    """The StatusError for whatever loading or running a graph raised, without a Python traceback."""
    if isinstance(error, StatusError):
        return error
    if isinstance(error, tf.errors.OpError):
        return StatusError(_CODES.get(error.error_code, Code.UNKNOWN), core_of(error.message))
    return StatusError(Code.UNKNOWN, core_of(str(error) or type(error).__name__))


_CODES = {code.value[0]: code for code in Code}


def core_of(message):
    """What went wrong, without the Python frames, node and function names TensorFlow wraps around it."""
    message = message[: 10 * MESSAGE_CHARACTERS]
    first_of_many = re.search(r"\(0\) [A-Z_]+:\s*(.*?)\s*(?:\n\s*\(1\)|\n\t|\Z)", message, re.DOTALL)
    if "root error(s) found" in message and first_of_many:
        message = first_of_many.group(1)
    message = re.sub(r"\{\{function_node .*?\}\}\s*", "", message)
    message = re.sub(r"\s*\[\[\{\{node .*?\}\}\]\]", "", message)
    message = re.sub(r"\s*\[Op:[^\]]*\]", "", message)
    before, _, frames = message.partition("Traceback (most recent call last)")
    if frames and not before.strip():  # the last line of a traceback names the error
        before = frames.strip().rpartition("\n")[2]
    kept, in_frames = [], False
    for line in before.splitlines():
        if line.startswith(("Graph execution error", "Detected at node", "<stack traces unavailable>")):
            in_frames = line.startswith("Detected at node")
        elif not (in_frames and line.startswith("  ")):
            in_frames = False
            kept.append(line)
    return "\n".join(kept).strip() or "TensorFlow gave no reason."
