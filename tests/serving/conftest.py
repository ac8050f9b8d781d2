"""One server process with tiny models for all tests of serving; started once."""

import pytest

from tests.serving.toys import Toy, start, stop

CONFIG = """
model_config_list {{
  config {{
    name: "toy" base_path: "{root}/toy" model_platform: "tensorflow"
    model_version_policy {{ all {{ }} }}
    version_labels {{ key: "stable" value: 1 }} version_labels {{ key: "later" value: 77 }}
  }}
  config {{ name: "moving" base_path: "{root}/moving" model_platform: "tensorflow" }}
  config {{ name: "steady" base_path: "{root}/steady" model_platform: "tensorflow" }}
  config {{ name: "none_yet" base_path: "{root}/none_yet" model_platform: "tensorflow" }}
}}
"""


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """toy: versions 1 and 2; moving and steady: version 1; none_yet: no folder."""
    folder = tmp_path_factory.mktemp("serving")
    models = folder / "models"
    Toy(2.0).save(models / "toy" / "00000001")
    Toy(3.0).save(models / "toy" / "2", "serving_default")
    Toy(1.0).save(models / "moving" / "1", "serving_default", "slow")
    Toy(1.0).save(models / "steady" / "1", "serving_default")
    config = folder / "models.config"
    config.write_text(CONFIG.format(root=models))
    running = start(
        [
            f"--model_config_file={config}",
            "--file_system_poll_wait_seconds=0.1",
            "--max_num_load_retries=0",
            f"--grpc_socket_path={folder}/socket",
        ],
        folder,
    )
    running.models = models
    yield running
    assert stop(running) == 0, running.log.read_text()
