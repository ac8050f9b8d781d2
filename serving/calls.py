"""TF Serving's calls without a transport: in comes a request message, out goes its response or a StatusError."""

import dataclasses
import time

from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_management_pb2

from serving import inference
from serving.config import models_of
from serving.status import Code, StatusError, invalid


@dataclasses.dataclass
class Answered:
    """What watchers are told of a request once it is answered.

    api: "Predict", "Classify", "Regress" or "MultiInference".  entrypoint: "GRPC" or "REST".
    response: None where there is an `error`, a StatusError, or, of a defect, None as well.
    version, servable: that answered; None where none was found.
    """

    api: str
    entrypoint: str
    request: object
    response: object = None
    error: object = None
    seconds: float = 0.0
    version: int = None
    servable: object = None


class Calls:
    """PredictionService and ModelService, as gRPC and REST ask them.

    Args:    manager: serving.models.Manager.
             tensor_content: answer Predict in tensor_content instead of typed fields.
             strict_methods: as --enable_signature_method_name_check.
             watchers: each called with an Answered, in the request's thread.
    """

    def __init__(self, manager, tensor_content=False, strict_methods=False, watchers=()):
        self._manager, self._tensor_content, self._strict = manager, tensor_content, strict_methods
        self._watchers = tuple(watchers)
        self._log_prefixes = set()

    def predict(self, request, timeout=None, fill=None, tensor_content=None, entrypoint="GRPC"):
        """Args: fill: called with the servable before its inputs are read; they may depend on what it declares."""
        content = self._tensor_content if tensor_content is None else tensor_content

        def answer(told):
            if fill:
                fill(told.servable)
            return told.servable.predict(request, content, timeout)

        return self._asked(Answered("Predict", entrypoint, request), answer)

    def classify(self, request, timeout=None, entrypoint="GRPC"):
        return self._inferred("Classify", inference.classify, request, timeout, entrypoint)

    def regress(self, request, timeout=None, entrypoint="GRPC"):
        return self._inferred("Regress", inference.regress, request, timeout, entrypoint)

    def multi_inference(self, request, timeout=None, entrypoint="GRPC"):
        return self._inferred("MultiInference", inference.multi_inference, request, timeout, entrypoint)

    def metadata(self, request, timeout=None):
        _require_spec(request)
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != "signature_def":
                raise invalid(f"Metadata field {field} is not supported")
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        with self._manager.lease(request.model_spec) as (version, servable):
            _name(response.model_spec, request.model_spec, version)
            response.metadata["signature_def"].Pack(servable.definitions)
        return response

    def status(self, request, timeout=None):
        _require_spec(request)
        return get_model_status_pb2.GetModelStatusResponse(
            model_version_status=self._manager.statuses(request.model_spec)
        )

    def reload(self, request, timeout=None):
        """HandleReloadConfigRequest: answered once the new models are available; the status is in the response, too."""
        if request.config.WhichOneof("config") is not None:  # TF Serving, too, leaves all as it is without one
            for model in request.config.model_config_list.config:
                if model.model_platform not in ("", "tensorflow") and self._manager.config(model.name) is not None:
                    raise invalid(f"Illegal to change a model's platform. For model {model.name}")
            try:
                models = models_of(request.config)
            except ValueError as error:
                raise invalid(str(error)) from None
            self._require_known_logs(models)
            self._manager.reload(models, timeout)
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()
        return response

    def _require_known_logs(self, models):
        """Whoever may ask may not say where on this machine files are written: only the config file does."""
        self._log_prefixes |= {model.logging.prefix for model in self._manager.models() if model.logging}
        for model in models:
            if model.logging and model.logging.prefix not in self._log_prefixes:
                raise StatusError(
                    Code.PERMISSION_DENIED,
                    f"`filename_prefix` of model {model.name} is {model.logging.prefix}, where no log has been yet; a "
                    "new one is named in --model_config_file.",
                )

    def _inferred(self, api, infer, request, timeout, entrypoint):
        return self._asked(
            Answered(api, entrypoint, request), lambda told: infer(told.servable, request, timeout, self._strict)
        )

    def _asked(self, told, answer):
        """The answer of the version that a request asks for, which is told to the watchers."""
        started = time.monotonic()
        try:
            with self._manager.lease(_spec_of(told.request)) as (told.version, told.servable):
                response = answer(told)
            for given, own in _specs(told.request, response):
                _name(own, given, told.version)
            told.response = response
            return response
        except StatusError as error:
            told.error = error
            raise
        finally:
            told.seconds = time.monotonic() - started
            for watcher in self._watchers:
                watcher(told)


def _spec_of(request):
    if hasattr(request, "tasks"):
        if not request.tasks:
            raise invalid("Missing ModelSpec")
        return _spec_of(request.tasks[0])
    _require_spec(request)
    return request.model_spec


def _specs(request, response):
    """(ModelSpec asked for, ModelSpec to answer) of a response, or of each of its results."""
    if hasattr(response, "results"):
        return [(task.model_spec, result.model_spec) for task, result in zip(request.tasks, response.results)]
    return [(request.model_spec, response.model_spec)]


def _name(own, given, version):
    own.name = given.name
    own.version.value = version


def _require_spec(request):
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
