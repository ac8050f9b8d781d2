"""REST: items 54 to 59."""

import base64
import http.client
import math
import re

import pytest

PREDICT = "/v1/models/half:predict"


def test_54_error_body_and_codes(rest):
    for path, body, status, text in (
        ("/v1/models/nobody:predict", {"instances": [1.0]}, 404, "Servable not found for request: Latest(nobody)"),
        ("/v1/models/half/versions/9:predict", {"instances": [1.0]}, 404, "Specific(half, 9)"),
        ("/v1/models/half/labels/none:predict", {"instances": [1.0]}, 400, "Unrecognized servable version label: none"),
        ("/v1/models/half:classify", {"examples": [{"x": 2.0}], "signature_name": "paint"}, 400, "No signature was"),
    ):
        code, answer = rest("POST", path, body)
        assert code == status and list(answer) == ["error"] and text in answer["error"], answer
    code, answer = rest("GET", "/v1/models/nobody")
    assert code == 404 and "Could not find any versions of model nobody" in answer["error"]


@pytest.mark.parametrize(
    "verb, path",
    [
        ("GET", PREDICT),
        ("POST", "/v1/models/half"),
        ("POST", "/v1/models/half:paint"),
        ("POST", "/v1/models/half/versions/one:predict"),
        ("PUT", PREDICT),
        ("GET", "/v1/model/half"),
    ],
)
def test_55_malformed_requests(rest, verb, path):
    code, answer = rest(verb, path, {} if verb != "GET" else None)
    assert code == 400 and answer["error"].startswith(f"Malformed request: {verb} {path}")


def page(target, path):
    """(HTTP status, text) of what need not be JSON."""
    connection = http.client.HTTPConnection(target.rest, timeout=20)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_55_outside_of_v1(target, rest):
    assert page(target, "/v2/models/half")[0] == 404


def test_56_names_and_versions_in_paths(rest):
    code, answer = rest("GET", "/v1/models")
    assert code == 400 and "Missing model name in request." in answer["error"]
    path = f"/v1/models/half/versions/{2**63}"
    for code, answer in (rest("GET", path), rest("POST", f"{path}:predict", {"instances": [1.0]})):
        assert code == 400 and "Failed to convert version" in answer["error"]


@pytest.mark.parametrize(
    "body, text",
    [
        ("", "JSON Parse error: The document is empty"),
        ("{", "JSON Parse error: "),
        ('{"instances": [1.0, ]', "JSON Parse error: Invalid value"),
        ({"instances": ["2.0"]}, "not of expected type: float"),
        ({"instances": [1.0], "signature_name": 5}, "'signature_name' key must be a string value."),
        (
            {"instances": [1.0], "signature_name": "paint"},
            'Serving signature name: "paint" not found in signature def',
        ),
    ],
)
def test_57_bodies_that_are_refused(rest, body, text):
    code, answer = rest("POST", PREDICT, body)
    assert code == 400 and text in answer["error"]


def test_58_predict_in_both_forms(rest):
    assert rest("POST", PREDICT, {"instances": [2, 3, 4]}) == (200, {"predictions": [3.0, 3.5, 4.0]})
    assert rest("POST", PREDICT, {"inputs": [2, 3, 4]}) == (200, {"outputs": [3.0, 3.5, 4.0]})
    assert rest("POST", PREDICT, {"inputs": {"x": [2.0]}}) == (200, {"outputs": [3.0]})
    body = {"signature_name": "two", "instances": [{"a": [1, 2], "b": 7}, {"a": [3, 4], "b": 8}]}
    code, answer = rest("POST", "/v1/models/toy/versions/1:predict", body)
    assert (code, answer) == (200, {"predictions": [{"row_sums": 3.0, "double": 14, "text": "7"},
                                                    {"row_sums": 7.0, "double": 16, "text": "8"}]})  # fmt: skip
    code, answer = rest("POST", "/v1/models/toy/labels/stable:predict", {"instances": [2.0]})
    assert (code, answer) == (200, {"predictions": [3.0]})


def test_58_bytes(rest):
    text = base64.b64encode(b"a\0\xff").decode()
    body = {"signature_name": "echo", "inputs": {"text": [{"b64": text}, "plain"]}}
    code, answer = rest("POST", "/v1/models/toy/versions/1:predict", body)
    outputs = answer["outputs"]
    assert code == 200 and outputs["length"] == [3, 5]
    assert outputs["text_bytes"] == [{"b64": text}, {"b64": base64.b64encode(b"plain").decode()}]
    assert outputs["text"][1] == "plain"


def test_58_numbers_that_json_does_not_have(rest):
    code, answer = rest("POST", PREDICT, '{"instances": [NaN, Infinity, -Infinity]}')
    first, *others = answer["predictions"]
    assert code == 200 and math.isnan(first) and others == [math.inf, -math.inf]


def test_58_classify_and_regress(rest):
    body = {"examples": [{"x": 2.0}, {"x": [4.0]}], "signature_name": "classify_names"}
    expected = {"results": [[["plus", 3.0], ["minus", -3.0]], [["plus", 4.0], ["minus", -4.0]]]}
    assert rest("POST", "/v1/models/half:classify", body) == (200, expected)
    body = {"context": {"x": 2.0}, "examples": [{}, {"x": 4.0}], "signature_name": "regress_x"}
    assert rest("POST", "/v1/models/half:regress", body) == (200, {"results": [3.0, 4.0]})


def test_58_status_and_metadata(rest):
    version = {"version": "123", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    for path in ("/v1/models/half", "/v1/models/half/versions/123"):
        assert rest("GET", path) == (200, {"model_version_status": [version]})
    code, answer = rest("GET", "/v1/models/half/metadata")
    assert code == 200 and answer["model_spec"]["name"] == "half" and answer["model_spec"]["version"] == "123"
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    assert signatures["serving_default"]["inputs"]["x"]["dtype"] == "DT_FLOAT"


def test_59_metrics_page(target, rest):
    assert rest("POST", PREDICT, {"instances": [1.0]})[0] == 200
    status, text = page(target, "/monitoring/prometheus/metrics")
    if status == 404 and not target.own:
        pytest.skip("shows no metrics: give the target --monitoring_config_file")
    assert status == 200 and "# TYPE" in text
    for name in ("request_count", "request_latency", "runtime_latency"):
        assert f":tensorflow:serving:{name}" in text
    assert re.search(r':tensorflow:serving:request_count\{[^}]*model_name="half"[^}]*\} [1-9]', text)
