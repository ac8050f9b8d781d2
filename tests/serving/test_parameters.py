"""Parameter files of TF Serving, for which tensorflow-serving-api has no classes."""

import pytest

from serving import parameters


def test_what_is_set_and_what_is_not():
    found = parameters.parse_parameters("BatchingParameters", "max_batch_size { value: 0 } allowed_batch_sizes: [1, 2]")
    assert parameters.value_of(found, "max_batch_size", 1000) == 0
    assert parameters.value_of(found, "num_batch_threads", 7) == 7
    assert list(found.allowed_batch_sizes) == [1, 2] and not found.pad_variable_length_inputs


def test_every_kind():
    found = parameters.parse_parameters("MonitoringConfig", 'prometheus_config { enable: true path: "/metrics" }')
    assert found.prometheus_config.enable and found.prometheus_config.path == "/metrics"
    found = parameters.parse_parameters("SSLConfig", 'server_key: "a\\nb" server_cert: "c" client_verify: true')
    assert (found.server_key, found.server_cert, found.custom_ca, found.client_verify) == ("a\nb", "c", "", True)


@pytest.mark.parametrize("text", ["max_batch_size: 8", "batch_size { value: 8 }", "max_batch_size {", "\0"])
def test_text_that_is_refused(text):
    with pytest.raises(ValueError) as caught:
        parameters.parse_parameters("BatchingParameters", text, "flag: ")
    told = str(caught.value)
    assert told.startswith("flag: Error parsing text-format tensorflow.serving.BatchingParameters: ")
    assert "\n" not in told and "few_label_images" not in told


def test_files(tmp_path, monkeypatch):
    file = tmp_path / "batching.config"
    file.write_text("pad_variable_length_inputs: true")
    assert parameters.read_parameters("BatchingParameters", file, "the_flag").pad_variable_length_inputs
    file.write_text("nothing of it")
    with pytest.raises(ValueError, match=f"^`the_flag` {file}: Error parsing"):
        parameters.read_parameters("BatchingParameters", file, "the_flag")
    monkeypatch.setattr(parameters, "PARAMETER_BYTES", 4)
    with pytest.raises(ValueError, match="`the_flag` names .* larger than the 4 bytes"):
        parameters.read_parameters("BatchingParameters", file, "the_flag")
    with pytest.raises(OSError, match="absent"):
        parameters.read_parameters("BatchingParameters", tmp_path / "absent", "the_flag")


def test_file_that_is_no_text(tmp_path):
    file = tmp_path / "batching.config"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="the_flag"):
        parameters.read_parameters("BatchingParameters", file, "the_flag")
