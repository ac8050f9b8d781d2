"""Which models to serve: in comes TF Serving's ModelServerConfig as text, out go checked ModelConfigs."""

import dataclasses
import os

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.status import not_found

CONFIG_BYTES = 2**20
LOG_TYPE = "tfrecord"


@dataclasses.dataclass(frozen=True)
class Logging:
    """Which share of a model's requests is written to files, and what their names begin with.

    Args:    prefix: absolute path.  rate: share in [0, 1].
    Raises:  ValueError for others.
    """

    prefix: str
    rate: float

    def __post_init__(self):
        if not os.path.isabs(self.prefix) or self.prefix.endswith("/"):
            raise ValueError(
                f"`filename_prefix` of a log is {self.prefix!r} but must be an absolute path that ends in the "
                "beginning of a file name, such as /var/log/models/requests."
            )
        if not 0 <= self.rate <= 1:
            raise ValueError(f"`sampling_rate` of a log is {self.rate} but must lie in [0, 1]; 0.01 logs 1 of 100.")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """One served model: where its version folders lie and which of them to load.

    Args:    name: what clients ask for.  base_path: absolute path or URI that holds the numeric folders.
             policy: "latest" (the `latest` newest), "all" or "specific" (those of `versions` that are there).
             labels: {label: version}; resolved at each request, so the version may come later.
             logging: Logging of its requests; None = they are not logged.
    Raises:  ValueError for a name, path or policy that cannot be served.
    """

    name: str
    base_path: str
    policy: str = "latest"
    latest: int = 1
    versions: tuple = ()
    labels: dict = dataclasses.field(default_factory=dict)
    logging: Logging = None

    def __post_init__(self):
        if not self.name:
            raise ValueError("`name` of a model is empty; give the name that clients ask for.")
        if not (os.path.isabs(self.base_path) or "://" in self.base_path):
            raise ValueError(
                f"Expected model {self.name} to have an absolute path or URI; "
                f"got base_path()={self.base_path}"
            )
        if self.policy not in ("latest", "all", "specific"):
            raise ValueError(
                f"`policy` of model {self.name} is {self.policy!r} but must be latest, all or specific."
            )
        if self.policy == "latest" and self.latest < 1:
            raise ValueError(f"`latest` of model {self.name} is {self.latest} but must be at least 1.")
        if self.policy == "specific" and not self.versions:
            raise ValueError(
                f"`versions` of model {self.name} is empty but policy specific must name at least one."
            )

    def choose(self, found):
        """Version numbers to serve of those found, highest first: the newest is wanted soonest."""
        numbers = sorted(found, reverse=True)
        if self.policy == "latest":
            return numbers[: self.latest]
        return [number for number in numbers if self.policy == "all" or number in self.versions]


def read_config(path):
    """[ModelConfig] of a file with a ModelServerConfig.   Raises: ValueError that names the file; OSError."""
    if os.path.getsize(path) > CONFIG_BYTES:
        raise ValueError(
            f"`{path}` is larger than {CONFIG_BYTES} bytes, which no model config is; "
            "check --model_config_file."
        )
    with open(path, encoding="utf-8") as stream:
        try:
            return parse_config(stream.read())
        except ValueError as error:
            raise ValueError(f"{path}: {' '.join(str(error).split())}") from error


def parse_config(text):
    """ModelServerConfig in text format -> [ModelConfig].   Raises: ValueError."""
    config = config_message(text)
    models = models_of(config)
    if not models:
        raise ValueError(
            "The model config lists no model; add `config { name: ... base_path: ... }` to its "
            "model_config_list."
        )
    return models


def config_message(text):
    """ModelServerConfig in text format -> the message.   Raises: ValueError."""
    config = model_server_config_pb2.ModelServerConfig()
    try:
        text_format.Parse(text, config)
    except text_format.ParseError as error:
        raise ValueError(
            f"Error parsing text-format tensorflow.serving.ModelServerConfig: {error}"
        ) from error
    return config


def models_of(config):
    """[ModelConfig] of a ModelServerConfig message.   Raises: ValueError."""
    if config.WhichOneof("config") != "model_config_list":
        raise ValueError("Only ModelConfigList is currently supported")
    return [_model_config(model) for model in config.model_config_list.config]


def _model_config(model):
    if bool(model.model_platform) == bool(model.model_type):
        which = "both" if model.model_platform else "neither"
        raise ValueError(
            f"Illegal setting {which} ModelServerConfig::model_type (deprecated) and "
            f"ModelServerConfig::model_platform of model {model.name}; set model_platform to "
            '"tensorflow".'
        )
    if model.model_platform not in ("", "tensorflow"):
        raise ValueError(
            f'`model_platform` of model {model.name} is {model.model_platform!r} but must be "tensorflow".'
        )
    policy = model.model_version_policy
    return ModelConfig(
        model.name,
        model.base_path,
        policy.WhichOneof("policy_choice") or "latest",
        latest=policy.latest.num_versions or 1,
        versions=tuple(policy.specific.versions),
        labels=dict(model.version_labels),
        logging=_logging(model),
    )


def _logging(model):
    if not model.HasField("logging_config"):
        return None
    collector = model.logging_config.log_collector_config
    if collector.type != LOG_TYPE:
        raise not_found(f"Cannot find LogCollector::Factory for type: {collector.type}")
    try:
        return Logging(collector.filename_prefix, model.logging_config.sampling_config.sampling_rate)
    except ValueError as error:
        raise ValueError(f"Model {model.name}: {error}") from None
