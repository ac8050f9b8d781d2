"""TF Serving's calls without a transport: in comes a request message, out goes its response or a StatusError."""

import asyncio
import contextlib
import dataclasses
import time

from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_management_pb2

from serving import inference
from serving.config import models_of
from serving.status import Code, StatusError, invalid

MOST_RUNS = 100  # of one request: there are as many in a MultiInference as it has tasks


@dataclasses.dataclass
class Answered:
    """What watchers are told of a request once it is answered.

    api: "Predict", "Classify", "Regress" or "MultiInference".  entrypoint: "GRPC" or "REST".
    response: None where there is an `error`, a StatusError, or, of a defect, None as well.
    version, servable: that answered; None where none was found.
    runs: [(signature, {output: array}, seconds)] of the signatures that ran for it, the first MOST_RUNS.
    """

    api: str
    entrypoint: str
    request: object
    response: object = None
    error: object = None
    seconds: float = 0.0
    version: int = None
    servable: object = None
    runs: list = dataclasses.field(default_factory=list)

    def ran(self, key, outputs, started):
        """Notes a signature that has run since `started`, of time.perf_counter()."""
        if len(self.runs) < MOST_RUNS:
            self.runs.append((key, outputs, time.perf_counter() - started))


class Calls:
    """PredictionService and ModelService, as gRPC and REST ask them.

    Args:    manager: serving.models.Manager.
             tensor_content: answer Predict in tensor_content instead of typed fields.
             strict_methods: as --enable_signature_method_name_check.
             watchers: each called with an Answered, by whoever answers the request; none may take long.
    """

    def __init__(self, manager, tensor_content=False, strict_methods=False, watchers=()):
        self._manager, self._tensor_content, self._strict = manager, tensor_content, strict_methods
        self._watchers = tuple(watchers)
        self._log_prefixes = set()

    def predict(self, request, timeout=None, fill=None, tensor_content=None, entrypoint="GRPC"):
        """Args: fill: called with the servable before its inputs are read; they may depend on what it declares."""
        with self._answering("Predict", request, entrypoint) as told:
            if fill:
                fill(told.servable)
            asked, started = told.servable.asked(request), time.perf_counter()
            outputs = told.servable.run(asked.key, asked.inputs, timeout)
            return self._predicted(told, asked, outputs, started, tensor_content)

    async def predict_awaited(self, request, run, aside):
        """A Predict that takes no thread while it waits; the watchers are called on the event loop.

        Args:   run: async (servable, signature, {input: array}) -> {output: array}, what `servable.run` answers.
                aside: async ({output: array}, build) -> what build() gives, which takes long for large outputs.
        """
        with self._answering("Predict", request, "GRPC") as told:
            asked, started = told.servable.asked(request), time.perf_counter()
            outputs = await run(told.servable, asked.key, asked.inputs)
            return await aside(outputs, lambda: self._predicted(told, asked, outputs, started))

    def _predicted(self, told, asked, outputs, started, tensor_content=None):
        told.ran(asked.key, outputs, started)
        told.response = asked.response(outputs, self._tensor_content if tensor_content is None else tensor_content)
        return self._named(told)

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

    def reload(self, request, timeout=None, gone=lambda: False):
        """HandleReloadConfigRequest: answered once the new models are available; the status is in the response, too.

        Args:   gone: () -> whether nobody waits for the answer any more.
        """
        if request.config.WhichOneof("config") is not None:  # TF Serving, too, leaves all as it is without one
            for model in request.config.model_config_list.config:
                if model.model_platform not in ("", "tensorflow") and self._manager.config(model.name) is not None:
                    raise invalid(f"Illegal to change a model's platform. For model {model.name}")
            try:
                models = models_of(request.config)
            except ValueError as error:
                raise invalid(str(error)) from None
            self._require_known_logs(models)
            self._manager.reload(models, timeout, gone)
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
        with self._answering(api, request, entrypoint) as told:
            told.response = infer(_Recorded(told), request, timeout, self._strict)
            return self._named(told)

    @contextlib.contextmanager
    def _answering(self, api, request, entrypoint):
        """Answered of a request, with the version it asks for; told to the watchers at the end."""
        told, started = Answered(api, entrypoint, request), time.monotonic()
        try:
            with self._manager.lease(_spec_of(api, request)) as (told.version, told.servable):
                yield told
        except asyncio.CancelledError:
            told.response, told.error = None, StatusError(Code.CANCELLED, "The client has gone.")
            raise
        except StatusError as error:  # a copy, as what was raised refers to `told` and would be kept with all it holds
            told.response, told.error = None, StatusError(error.code, error.message)
            raise
        except Exception:
            told.response = None
            raise
        finally:
            told.seconds = time.monotonic() - started
            for watcher in self._watchers:
                watcher(told)

    @staticmethod
    def _named(told):
        """The response, or each of its results, with what it is of."""
        request, response = told.request, told.response
        if told.api != "MultiInference":
            _name(response.model_spec, request.model_spec, told.version)
        else:
            for task, result in zip(request.tasks, response.results):
                _name(result.model_spec, task.model_spec, told.version)
        return response


class _Recorded:
    """A servable whose runs for one request are noted."""

    def __init__(self, told):
        self._told = told
        self.signature = told.servable.signature

    def run(self, key, inputs, timeout=None):
        started = time.perf_counter()
        outputs = self._told.servable.run(key, inputs, timeout)
        self._told.ran(key, outputs, started)
        return outputs


def _spec_of(api, request):
    if api != "MultiInference":
        _require_spec(request)
        return request.model_spec
    if not request.tasks:
        raise invalid("Missing ModelSpec")
    _require_spec(request.tasks[0])
    return request.tasks[0].model_spec


def _name(own, given, version):
    own.name = given.name
    own.version.value = version


def _require_spec(request):
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
