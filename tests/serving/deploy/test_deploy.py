"""The files for the real TF Serving and for containers: parsed, as there is no Docker here to run them."""

import ast
import os
import pathlib
import re
import sys

import pytest
import yaml

from serving.batching import Batching
from serving.config import parse_config
from serving.parameters import parse_parameters, read_parameters
from tests.serving.toys import ROOT

DEPLOY = pathlib.Path(ROOT) / "serving" / "deploy"
IMAGE = "tensorflow/serving:2.15.1"
CONFIGS = {"models.config", "batching.config", "monitoring.config"}
# Of tensorflow_model_server 2.15.1, those that these files may use.
TF_SERVING = {
    "port", "rest_api_port", "model_config_file", "model_config_file_poll_wait_seconds", "enable_batching",
    "batching_parameters_file", "monitoring_config_file", "tensorflow_intra_op_parallelism",
}  # fmt: skip
OURS = set(re.findall(r'DEFINE_\w+\(\s*"(\w+)"', (DEPLOY.parent / "server.py").read_text()))


def read(name):
    return (DEPLOY / name).read_text(encoding="utf-8")


def compose(name):
    return yaml.safe_load(read("compose.yaml"))["services"][name]


@pytest.fixture(scope="module")
def kubernetes():
    return {one["kind"]: one for one in yaml.safe_load_all(read("kubernetes.yaml"))}


def flags_of(words):
    return dict(re.fullmatch(r"--(\w+)=(.+)", word).groups() for word in words)


# ---- Config files ----


def test_models():
    models = parse_config(read("models.config"))
    assert [(model.name, model.base_path) for model in models] == [
        ("verification", "/models/verification"),
        ("gallery", "/models/gallery"),
    ]


def test_batching():
    batching = Batching.of(read_parameters("BatchingParameters", DEPLOY / "batching.config", "f"))
    assert batching.allowed_batch_sizes[-1] == batching.rows == 32 and batching.enable_large_batch_splitting
    assert 0 <= batching.batch_timeout <= 0.01
    with pytest.raises(ValueError, match="Error parsing"):  # a misspelt field is told
        parse_parameters("BatchingParameters", "max_batch: 3")


def test_monitoring():
    config = read_parameters("MonitoringConfig", DEPLOY / "monitoring.config", "f").prometheus_config
    assert config.enable and config.path == "/monitoring/prometheus/metrics"


# ---- Compose ----


@pytest.mark.parametrize("name, known", [("serving", TF_SERVING), ("embedded", OURS)])
def test_a_service_mounts_what_its_flags_name(name, known):
    service = compose(name)
    targets = {}
    for volume in service["volumes"]:
        source, target = re.fullmatch(r"(.+?):(/[^:]+):ro", volume).groups()
        targets[target] = source
    assert targets.pop("/models") == "${MODELS:-../../saved_models/models}"
    for source in targets.values():
        assert (DEPLOY / source).is_file(), source
    flags = flags_of(word for word in service["command"] if word.startswith("--"))
    assert flags.keys() <= known
    assert {value for value in flags.values() if value.startswith("/")} == set(targets)
    inside = {flags[flag] for flag in ("port", "rest_api_port", "demo_port") if flag in flags}
    assert {port.rsplit(":", 1)[1] for port in service["ports"]} == inside
    assert all(port.startswith("127.0.0.1:") for port in service["ports"]) and flags["enable_batching"] == "true"
    assert service["read_only"] and service["user"] == "1000:1000" and service["cap_drop"] == ["ALL"]


def test_the_services_can_run_beside_each_other():
    serving, embedded = compose("serving"), compose("embedded")
    assert serving["image"] == IMAGE and "profiles" not in serving and embedded["profiles"] == ["embedded"]
    taken = [{port.split(":")[1] for port in service["ports"]} for service in (serving, embedded)]
    assert not taken[0] & taken[1]
    build = embedded["build"]
    assert (DEPLOY / build["context"]).resolve() == pathlib.Path(ROOT)
    assert (pathlib.Path(ROOT) / build["dockerfile"]).is_file() and embedded["command"][0] == "serving.server"
    compile(embedded["healthcheck"]["test"][-1], "healthcheck", "exec")
    assert flags_of(embedded["command"][1:])["host"] == "0.0.0.0"  # else the ports lead to nobody


# ---- Kubernetes ----


def test_the_pods_serve_as_compose_does(kubernetes):
    pod = kubernetes["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    service = compose("serving")
    assert container["image"] == IMAGE and container["command"] == service["entrypoint"]
    flags, others = flags_of(container["args"]), flags_of(service["command"])
    del others["model_config_file_poll_wait_seconds"]  # a changed map makes new pods
    assert flags == others
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    generated = yaml.safe_load(read("kustomization.yaml"))
    (made,) = generated["configMapGenerator"]
    assert set(made["files"]) == CONFIGS and all((DEPLOY / name).is_file() for name in made["files"])
    assert all((DEPLOY / name).is_file() for name in generated["resources"])
    assert {value for value in flags.values() if value.startswith("/")} == {
        f"{mounts['config']}/{name}" for name in made["files"]
    }
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes.keys() == mounts.keys() and mounts["models"] == "/models"
    assert volumes["config"]["configMap"]["name"] == made["name"]
    claim = kubernetes["PersistentVolumeClaim"]
    assert volumes["models"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_a_pod_is_asked_for_the_status_of_a_model_it_serves(kubernetes):
    (container,) = kubernetes["Deployment"]["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: str(port["containerPort"]) for port in container["ports"]}
    flags = flags_of(container["args"])
    assert ports == {"grpc": flags["port"], "rest": flags["rest_api_port"]}
    names = {model.name for model in parse_config(read("models.config"))}
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container[kind]["httpGet"]
        assert asked["port"] == "rest" and asked["path"].removeprefix("/v1/models/") in names, kind
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 300
    # A pod that is slow for a moment gets no requests; it is not ended at once.
    waits = {kind: container[kind]["periodSeconds"] * container[kind]["failureThreshold"]
             for kind in ("readinessProbe", "livenessProbe")}  # fmt: skip
    assert waits["livenessProbe"] > waits["readinessProbe"]


def test_labels_and_names_meet(kubernetes):
    labels = kubernetes["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert kubernetes["Service"]["spec"]["selector"] == labels
    assert kubernetes["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    target = kubernetes["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", kubernetes["Deployment"]["metadata"]["name"])
    assert "replicas" not in kubernetes["Deployment"]["spec"]  # applied anew it would undo the autoscaler
    (container,) = kubernetes["Deployment"]["spec"]["template"]["spec"]["containers"]
    named = {port["name"] for port in container["ports"]}
    assert {port["targetPort"] for port in kubernetes["Service"]["spec"]["ports"]} == named
    metrics = kubernetes["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert metrics["prometheus.io/port"] == flags_of(container["args"])["rest_api_port"]
    monitoring = read_parameters("MonitoringConfig", DEPLOY / "monitoring.config", "f")
    assert metrics["prometheus.io/path"] == monitoring.prometheus_config.path


def test_a_pod_has_no_rights_it_does_not_need(kubernetes):
    pod = kubernetes["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] >= 1000
    own = container["securityContext"]
    assert own["readOnlyRootFilesystem"] and not own["allowPrivilegeEscalation"]
    assert own["capabilities"] == {"drop": ["ALL"]} and not pod["automountServiceAccountToken"]
    writable = {mount["name"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    assert writable == {"tmp"}
    # The autoscaler counts in shares of `requests`; as many batches run as there are cores.
    assert container["resources"]["requests"]["cpu"] and container["resources"]["limits"]["memory"]
    batching = Batching.of(read_parameters("BatchingParameters", DEPLOY / "batching.config", "f"))
    assert str(batching.num_batch_threads) == container["resources"]["limits"]["cpu"]


# ---- Dockerfile ----


def dockerfile():
    """[(instruction, the rest)]."""
    lines = [line for line in read("Dockerfile").splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def copied():
    return [rest.split()[0] for word, rest in dockerfile() if word == "COPY"]


def test_the_image_runs_every_command_as_nobody_special():
    steps = dockerfile()
    assert steps[0] == ("FROM", "python:3.11-slim")
    assert dict(steps)["ENTRYPOINT"] == '["python", "-m"]'
    words = [word for word, _ in steps]
    assert dict(steps)["USER"] == "1000:1000" and words.index("RUN") < words.index("USER") < words.index("ENTRYPOINT")
    assert words.index("USER") > max(i for i, word in enumerate(words) if word == "RUN")
    exposed = set(dict(steps)["EXPOSE"].split())
    assert exposed == {port.rsplit(":", 1)[1] for port in compose("embedded")["ports"]}


def test_the_image_holds_all_that_its_modules_import():
    folders = [name for name in copied() if (pathlib.Path(ROOT) / name).is_dir()]
    assert {"tfrecords", "keras_apps", "saved_models", "serving"} <= set(folders)
    known = set(sys.stdlib_module_names) | set(folders)
    ours = {path.name for path in pathlib.Path(ROOT).iterdir() if path.is_dir()} - {"build"}
    for folder in folders:
        for path in (pathlib.Path(ROOT) / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [one.name for one in node.names] if isinstance(node, ast.Import) else (
                    [node.module] if isinstance(node, ast.ImportFrom) else [])  # fmt: skip
                for name in names:
                    top = name.split(".")[0]
                    assert top in known or top not in ours, f"{path} imports {name}, which the image lacks"


def test_what_is_copied_is_sent_to_the_builder():
    lines = [line for line in pathlib.Path(ROOT, ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"  # nothing by accident, such as data or .venv
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert allowed == set(copied()) and all(os.path.exists(os.path.join(ROOT, name)) for name in allowed)
    assert {"**/__pycache__", "tfrecords/data/*", "saved_models/models/*"} <= set(lines)


# ---- README ----


def test_the_readme_is_short_and_honest():
    text = read("README.md")
    assert len(text.splitlines()) <= 50 and "Not run" in text
    for name in re.findall(r"`([A-Za-z]+(?:\.(?:config|yaml))?)`", text):
        if "." in name or name == "Dockerfile":
            assert (DEPLOY / name).is_file(), name
    told = {path.name for path in DEPLOY.iterdir() if path.is_file()} - {"README.md"}
    assert all(f"`{name}`" in text for name in told)


def test_the_readme_tells_the_flags_of_the_embedded_server_as_they_are():
    differences = read("README.md").partition("does differently")[2]
    lacking = next(line for line in differences.splitlines() if line.startswith("- It has no"))
    missing = set(re.findall(r"--(\w+)", lacking))
    assert missing and not missing & OURS
    named = set(re.findall(r"--(\w+)", differences)) - missing
    assert "demo_port" in named and named <= OURS
