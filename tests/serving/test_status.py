"""Errors as the server words them."""

import urllib.parse

import grpc
import pytest
import tensorflow as tf

from serving import status


@pytest.mark.parametrize(
    "text, core",
    [
        (
            "Graph execution error:\n\nDetected at node a/b defined at (most recent call last):\n"
            '  File "x.py", line 3\n'
            "    y = 1\nsizes differ\nby 2\n\t [[{{node a/b}}]] [Op:__inference_f_1]",
            "sizes differ by 2",
        ),
        (
            "2 root error(s) found.\n  (0) INVALID_ARGUMENT:  too large\n\t [[{{node c}}]]\n\t [[d/_3]]\n"
            "  (1) INVALID_ARGUMENT:  too large\n\t [[{{node c}}]]\n0 successful operations.",
            "too large",
        ),
        ("{{function_node __wrapped__X}} empty", "empty"),
        ("ValueError: no\nTraceback (most recent call last):\n  File\nValueError: no", "ValueError: no"),
        ("Traceback (most recent call last):\n  File\nKeyError: 7", "KeyError: 7"),
    ],
)
def test_messages_from_graphs(text, core):
    assert status.status_of(tf.errors.InvalidArgumentError(None, None, text)).message == core


def test_what_is_no_tensorflow_error_is_unknown_and_what_is_a_status_stays():
    assert status.status_of(KeyError()).code == grpc.StatusCode.UNKNOWN
    assert status.status_of(KeyError()).message == "KeyError"
    error = status.not_found("no such thing")
    assert status.status_of(error) is error and error.code == grpc.StatusCode.NOT_FOUND
    assert status.status_of(tf.errors.DataLossError(None, None, "torn")).code == grpc.StatusCode.DATA_LOSS


@pytest.mark.parametrize("character", ["a", "\u00e9", "\u4e2d", "\ud800"])
def test_texts_fit_into_a_header(character):
    text = status.bounded(character * 100_000)
    assert 100 < len(text) <= 2000 and len(urllib.parse.quote(text)) <= 6000


@pytest.mark.parametrize(
    "text, first",
    [
        ("No file found. You may try again.", "No file found"),
        ("restore operator? Consider 2.5 of it", "restore operator?"),
        ("Can't parse /m/1.Old/saved_model.pb as binary proto", "Can't parse /m/1.Old/saved_model.pb as binary proto"),
        ("", ""),
    ],
)
def test_first_sentence(text, first):
    assert status.first_sentence(text) == first
