"""One server process with tiny models for all tests of serving; started once."""

import signal

import pytest

from tests.serving.toys import Detector, Diagnoser, Generator, Restorer, Toy, start, stop
from tests.serving.wire import ends_after_the_last_answer

CONFIG = """
model_config_list {{
  config {{
    name: "toy" base_path: "{root}/toy" model_platform: "tensorflow"
    model_version_policy {{ all {{ }} }}
    version_labels {{ key: "stable" value: 1 }} version_labels {{ key: "later" value: 77 }}
  }}
  config {{ name: "fake_image_detection" base_path: "{root}/fakes" model_platform: "tensorflow" }}
  config {{ name: "small_sample_diagnosis" base_path: "{root}/diagnoses" model_platform: "tensorflow" }}
  config {{ name: "image_generation" base_path: "{root}/images" model_platform: "tensorflow" }}
  config {{ name: "classes" base_path: "{root}/classes" model_platform: "tensorflow" }}
  config {{ name: "super_resolution" base_path: "{root}/larger" model_platform: "tensorflow" }}
  config {{ name: "none_yet" base_path: "{root}/none_yet" model_platform: "tensorflow" }}
}}
"""


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """toy: versions 1 and 2; none_yet: no folder; one model of each other task, and a generator of classes: version 1.

    How it ends is checked, too, which saves a process.
    """
    folder = tmp_path_factory.mktemp("serving")
    models = folder / "models"
    Toy(2.0).save(models / "toy" / "00000001")
    Toy(3.0).save(models / "toy" / "2", "serving_default")
    Detector().save(models / "fakes" / "1")
    Diagnoser().save(models / "diagnoses" / "1")
    Generator().save(models / "images" / "1")
    Generator().save(models / "classes" / "1", conditional=True)
    Restorer().save(models / "larger" / "1")
    config = folder / "models.config"
    config.write_text(CONFIG.format(root=models))
    running = start(
        [
            f"--model_config_file={config}",
            "--file_system_poll_wait_seconds=0.1",
            "--max_num_load_retries=0",
            "--allow_version_labels_for_unavailable_models",
            f"--grpc_socket_path={folder}/socket",
        ],
        folder,
    )
    running.models = models
    try:
        yield running
        log = running.log.read_text()
        assert f"listening on 127.0.0.1:{running.address.split(':')[1]}\n" in log
        assert "tensorflow/" not in log and "Traceback" not in log, log  # nothing but the server's own lines
        ends_after_the_last_answer(running, signal.SIGTERM, "toy", 2.0)
    finally:
        stop(running)
