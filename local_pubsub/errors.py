"""Reads nothing; gives the refusals of the local Pub/Sub server, each with its gRPC status name."""

from __future__ import annotations

from typing import ClassVar

from ami_contract.errors import TransportError


class RequestRefused(TransportError):
    """A request the server answers with an error; `status` is the gRPC status code's name."""

    status: ClassVar[str] = "INTERNAL"


class InvalidArgument(RequestRefused):
    """The request breaks a documented rule or limit of Pub/Sub."""

    status = "INVALID_ARGUMENT"


class NotFound(RequestRefused):
    """The named topic or subscription does not exist."""

    status = "NOT_FOUND"


class AlreadyExists(RequestRefused):
    """A topic or subscription of this name exists."""

    status = "ALREADY_EXISTS"


class FailedPrecondition(RequestRefused):
    """The resource is in a state that does not allow the request."""

    status = "FAILED_PRECONDITION"


class Unsupported(RequestRefused):
    """Pub/Sub knows the method or feature, this server does not offer it."""

    status = "UNIMPLEMENTED"


class Exhausted(RequestRefused):
    """All slots for waiting pulls and open streams are taken."""

    status = "RESOURCE_EXHAUSTED"


class Unavailable(RequestRefused):
    """The server is stopping or could not write its journal; clients try again."""

    status = "UNAVAILABLE"
