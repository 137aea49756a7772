"""What can be wrong with a request, and with the state. Each text reaches the caller as it is."""


class ApiError(Exception):
    """A request that is answered with ``{"error": text}`` and this class's status."""

    status = 500


class BadRequest(ApiError):
    """The request can never succeed as it is."""

    status = 400


class Unauthorized(ApiError):
    """The token is missing or wrong."""

    status = 401


class Forbidden(ApiError):
    """The request comes from where no request may come from."""

    status = 403


class NotFound(ApiError):
    """The thing named in the path is not here, or no longer."""

    status = 404


class MethodNotAllowed(ApiError):
    """The path exists, with other methods."""

    status = 405


class QuotaExceeded(ApiError):
    """QStash answers 412 when a limit of the plan is reached, an oversized body for example."""

    status = 412


class StateUnavailable(ApiError):
    """The state could not be read or written (disk full, file locked); nothing was changed."""

    status = 503


class StartError(Exception):
    """The server cannot start. The text is one sentence for the person at the terminal."""
