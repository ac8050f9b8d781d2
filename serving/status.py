"""Errors as answers: in comes whatever a model or TensorFlow raised, out goes a code and a bounded text."""

import re
import urllib.parse

import grpc
import tensorflow as tf

from saved_models.verify import MESSAGE_CHARACTERS, core_message

Code = grpc.StatusCode


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
        return StatusError(_CODES.get(error.error_code, Code.UNKNOWN), core_message(error))
    return StatusError(Code.UNKNOWN, core_message(error))


_CODES = {code.value[0]: code for code in Code}


def first_sentence(message):
    """What a message begins with, without the full stop: enough where there is room for one line."""
    return re.split(r"(?<=[.?!]) (?=[A-Z])", message, maxsplit=1)[0].rstrip(".")
