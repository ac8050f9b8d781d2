"""What can be wrong with a request, as exceptions: one class a gRPC code that is told apart."""


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

    remedy = "start it with `python -m serving.server` or check the address"


class Unimplemented(ServingError):
    """The server does not know this call."""


_CLASSES = {
    error_class.__name__.upper(): error_class
    for error_class in (NotFound, InvalidArgument, FailedPrecondition, DeadlineExceeded, Unavailable, Unimplemented)
}


def error_of(code, message, asked=""):
    """The error for the name of a gRPC code, of its own class where it has one."""
    return _CLASSES.get(code.replace("_", ""), ServingError)(code, message, asked)
