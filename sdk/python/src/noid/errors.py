"""What can go wrong. Each kind of error of noid's is a class."""

from __future__ import annotations

from typing import Any, Dict, Type


class Error(Exception):
    """Any error of noid's. ``hint``, if there is one, says what to do about it."""

    kind = "failed"

    def __init__(self, message: str, hint: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        #: The status of HTTP, 0 where the error is not the server's.
        self.status = status

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class Failed(Error):
    """Something went wrong that is of no other kind."""


class UsageError(Error, ValueError):
    """What was asked for makes no sense."""

    kind = "usage"


class NotFound(Error, LookupError):
    """There is no such VM, checkpoint or file."""

    kind = "not_found"


class AlreadyExists(Error):
    """It is there already."""

    kind = "exists"


class Busy(Error):
    """Somebody else is at work with it. Try again later."""

    kind = "busy"


class StateError(Error):
    """It is not in the state that this needs, such as running."""

    kind = "state"


class TimedOut(Error, TimeoutError):
    """It took too long."""

    kind = "timeout"


class HostError(Error):
    """This host cannot: there is no KVM and no QEMU, no kernel, no space, no noid."""

    kind = "host"


class Interrupted(Error):
    """The server ended before it was done, or a change was interrupted before: it may have been done, in whole or in part."""

    kind = "interrupted"


class Forbidden(Error, PermissionError):
    """The server does not let this client in."""

    kind = "forbidden"


class Disconnected(Error, ConnectionError):
    """The connection to the server broke off. Whether a change was made is not known."""

    kind = "interrupted"


class CommandError(Error):
    """A command ended with another exit code than 0. ``result`` is how."""

    def __init__(self, message: str, result: Any) -> None:
        super().__init__(message)
        self.result = result


class CommandTimeout(CommandError, TimeoutError):
    """A command ran out of its time, and was ended."""

    kind = "timeout"


class NoidWarning(UserWarning):
    """Something went wrong without failing what was asked for."""


_kinds: Dict[str, Type[Error]] = {
    c.kind: c for c in (Failed, UsageError, NotFound, AlreadyExists, Busy, StateError, TimedOut, HostError, Interrupted, Forbidden)
}


def of_problem(doc: Any, status: int) -> Error:
    """The error that a problem document (RFC 9457) tells of."""
    if not isinstance(doc, dict):
        return Failed(f"the server answered with status {status}", status=status)
    text = doc.get("detail") or doc.get("title") or f"the server answered with status {status}"
    return _kinds.get(doc.get("kind", ""), Failed)(str(text), str(doc.get("hint") or ""), status)
