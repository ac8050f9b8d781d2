"""What can be wrong with a request, as exceptions: one class a gRPC code."""

import re


class ServingError(Exception):
    """A request that was not answered: `code` is the gRPC code's name, `message` what the server said.

    `image` is the path, or "image <number>", of the image at fault where it is one; None where it is not.
    """

    remedy = ""

    def __init__(self, code, message, asked="", image=None):
        self.code, self.message, self.asked, self.image = code, message, asked, image
        said = " ".join(message.split()).rstrip(".")
        at_fault = f"{image}: " if image else ""
        super().__init__(f"{at_fault}{asked}{code}: {said}{'; ' + self.remedy if self.remedy else ''}.")


class NotFound(ServingError):
    """The server has no such model or version."""

    remedy = (
        "check the name (--model here, --model_name or the model config at the server) and the version, "
        "or wait until it is exported and loaded"
    )


class InvalidArgument(ServingError):
    """The server refuses the inputs."""


class FailedPrecondition(ServingError):
    """The model cannot answer this, for example because it has no such signature."""


class DeadlineExceeded(ServingError):
    """No answer within the time limit."""

    remedy = "allow more time or send fewer images at once"


class Unavailable(ServingError):
    """No server answers at the address."""

    remedy = ("start it with `python -m serving.server`, or check the address and whether it wants --tls_ca and a "
              "certificate")  # fmt: skip

    def __init__(self, code, message, asked="", image=None):
        if re.search("handshake|certificate|SSL", message):
            self.remedy = "check --tls_ca, --tls_cert and --tls_key here and --ssl_config_file at the server"
        super().__init__(code, message, asked, image)


class ResourceExhausted(ServingError):
    """The server has no room: its queue is full, or a message or its memory is too small for the request."""


class Unimplemented(ServingError):
    """The server does not know the call, or answers without something it must have."""


class Unauthenticated(ServingError):
    """The server does not know who asks."""

    remedy = "give a certificate that it trusts, --tls_cert and --tls_key in the command"


class PermissionDenied(ServingError):
    """The server knows who asks and does not allow it."""


class AlreadyExists(ServingError):
    """What is to be made is there."""


class Aborted(ServingError):
    """The server gave up, for example because another request came in between."""


class OutOfRange(ServingError):
    """An input lies where the model knows nothing."""


class Cancelled(ServingError):
    """The request was given up by the server, or by closing the client."""


class Internal(ServingError):
    """The server failed on the request; its log says where."""


class DataLoss(ServingError):
    """An answer is not what the signature promises."""


class Unknown(ServingError):
    """The server failed and gave no better reason."""


_CLASSES = {error_class.__name__.upper(): error_class for error_class in ServingError.__subclasses__()}


def error_of(code, message, asked="", image=None):
    """The error for the name of a gRPC code, of its own class where it has one."""
    return _CLASSES.get(code.replace("_", ""), ServingError)(code, message, asked, image)
