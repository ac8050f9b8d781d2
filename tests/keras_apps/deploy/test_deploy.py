"""The manifests fit the commands; the script sets what the training reads."""

import pathlib
import re
import subprocess

import pytest
import yaml

from keras_apps.cluster import cluster_of

FOLDER = pathlib.Path(__file__).parents[3] / "keras_apps" / "deploy"
TRAIN = (FOLDER.parent / "train.py").read_text()


def run(tmp_path, **environment):
    """worker.sh with an interpreter that only prints what it was given."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$TF_CONFIG"\necho "$@"\n')
    python.chmod(0o755)
    return subprocess.run(["sh", str(FOLDER / "worker.sh"), "--workdir=/a b"], capture_output=True, text=True,
                          env={"PYTHON": str(python), "PATH": "/usr/bin:/bin", **environment})


def test_the_script_names_all_workers_and_this_one(tmp_path):
    done = run(tmp_path, WORKERS="a.train:2222 b.train:2222", INDEX="1")
    config, words = done.stdout.splitlines()
    assert cluster_of({"TF_CONFIG": config}) == ({"worker": ["a.train:2222", "b.train:2222"]}, "worker", 1)
    assert words == "-m keras_apps.train --strategy=multi_worker --workdir=/a b"


@pytest.mark.parametrize("environment, said", [
    ({"INDEX": "0"}, "WORKERS: is not set; list the host:port of all workers"),
    ({"WORKERS": "a:1"}, "INDEX: is not set; give the place of this machine"),
])
def test_what_is_missing_is_named(tmp_path, environment, said):
    done = run(tmp_path, **environment)
    assert done.returncode and said in done.stderr and not done.stdout


def test_an_index_that_is_no_number_is_refused_by_the_training(tmp_path):
    config = run(tmp_path, WORKERS="a:1", INDEX="x").stdout.splitlines()[0]
    with pytest.raises(ValueError, match="`TF_CONFIG` is .* cannot be read"):
        cluster_of({"TF_CONFIG": config})


def flags_of(words):
    return {re.match(r"--(\w+)=", word)[1] for word in words if word.startswith("--")}


def test_the_kubernetes_job_has_one_worker_a_pod():
    service, job = yaml.safe_load_all((FOLDER / "job.yaml").read_text())
    spec = job["spec"]
    pod = spec["template"]["spec"]
    container, = pod["containers"]
    environment = {entry["name"]: entry for entry in container["env"]}
    workers = environment["WORKERS"]["value"].split()
    name, port = job["metadata"]["name"], container["ports"][0]["containerPort"]
    assert workers == [f"{name}-{i}.{pod['subdomain']}:{port}" for i in range(spec["completions"])]
    assert spec["parallelism"] == spec["completions"] and spec["completionMode"] == "Indexed"
    assert service["metadata"]["name"] == pod["subdomain"] and service["spec"]["clusterIP"] == "None"
    assert spec["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [143]
    assert pod["restartPolicy"] == "Never", "a failure policy demands it"
    assert (FOLDER.parents[1] / container["command"][1]).exists()
    assert all(f'"{flag}"' in TRAIN for flag in flags_of(container["args"]))


def test_the_kubeflow_job_has_a_chief_workers_and_servers():
    roles = yaml.safe_load((FOLDER / "tfjob.yaml").read_text())["spec"]["tfReplicaSpecs"]
    assert {role: spec["replicas"] for role, spec in roles.items()} == {"Chief": 1, "Worker": 4, "PS": 2}
    for spec in roles.values():
        container, = spec["template"]["spec"]["containers"]
        assert container["name"] == "tensorflow" and "--strategy=parameter_server" in container["args"]
        assert all(f'"{flag}"' in TRAIN for flag in flags_of(container["args"]))


@pytest.mark.parametrize("name", ["worker.sh", "slurm.sh"])
def test_the_scripts_are_valid(name):
    assert subprocess.run(["sh", "-n", str(FOLDER / name)]).returncode == 0


def test_the_slurm_script_counts_the_nodes(tmp_path):
    """With stand-ins for Slurm's commands."""
    for command, text in {"scontrol": 'echo "$@" >> "$LOG"; [ "$1" = show ] && printf "n1\\nn2\\n"; true',
                          "srun": 'shift; echo "$WORKERS" >> "$LOG"; exit 143'}.items():
        (tmp_path / command).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / command).chmod(0o755)
    log = tmp_path / "log"
    done = subprocess.run(["sh", str(FOLDER / "slurm.sh")], env={
        "PATH": f"{tmp_path}:/usr/bin:/bin", "LOG": str(log), "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_JOB_ID": "7"})
    assert done.returncode == 143
    assert log.read_text().splitlines() == ["show hostnames n[1-2]", "n1:2222 n2:2222 ", "requeue 7"]
