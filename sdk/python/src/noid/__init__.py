"""MicroVMs that can be checkpointed, forked and undone.

    >>> import noid
    >>> with noid.run("python:3.13") as vm:
    ...     vm.exec("echo hello").stdout
    'hello\\n'

The functions of this module are those of a :class:`Client` that is made when one of them is first called.
:class:`AsyncClient` is the same for asyncio and trio.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Optional

from ._async.client import AsyncClient
from ._async.vm import AsyncCheckpoint, AsyncStream, AsyncVM, AsyncVMs
from ._sync.client import Client
from ._sync.vm import VM, Checkpoint, Stream, VMs
from ._version import __version__
from .errors import (
    AlreadyExists, Busy, CommandError, CommandTimeout, Disconnected, Error, Failed, Forbidden, HostError, Interrupted, NoidWarning,
    NotFound, StateError, TimedOut, UsageError,
)
from .models import (
    Change, CheckpointInfo, Cut, Diff, Entry, Explored, FileInfo, FileState, History, Job, Output, PackageChange, Port, Process,
    ProcessChange, Progress, Restored, Result, Secret, Undone, Variant, Version, VMInfo,
)

if TYPE_CHECKING:
    from ._options import DiffOptions, RunOptions, Unpack, VMOptions

__all__ = [
    "AlreadyExists", "AsyncCheckpoint", "AsyncClient", "AsyncStream", "AsyncVM", "AsyncVMs", "Busy", "Change",
    "Checkpoint", "CheckpointInfo", "Client", "CommandError", "CommandTimeout", "Cut", "Diff", "Disconnected",
    "Entry", "Error", "Explored", "Failed", "FileInfo", "FileState", "Forbidden", "History", "HostError",
    "Interrupted", "Job", "NoidWarning", "NotFound", "Output", "PackageChange", "Port", "Process", "ProcessChange",
    "Progress", "Restored", "Result", "Secret", "StateError", "Stream", "TimedOut", "Undone", "UsageError", "VM",
    "VMInfo", "VMs", "Variant", "Version", "create", "diff", "get", "list", "run",
]

_lock = threading.Lock()
_default: Optional[Client] = None


def _client() -> Client:
    """The client of this module's functions."""
    global _default
    with _lock:
        if _default is None:
            _default = Client()
        return _default


def _forget() -> None:
    """In a child of fork(2): connections and locks are the parent's."""
    global _default, _lock
    _default, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)


def run(image: str = "", **options: "Unpack[RunOptions]") -> VM:
    """Makes a VM that is destroyed at the end of the ``with`` block: see :meth:`Client.run`."""
    return _client().run(image, **options)


def create(name: str, image: str = "", **options: "Unpack[VMOptions]") -> VM:
    """Makes a VM that stays: see :meth:`Client.create`."""
    return _client().create(name, image, **options)


def get(name: str) -> VM:
    """The VM of this name."""
    return _client().get(name)


def list() -> VMs:
    """All VMs."""
    return _client().list()


def diff(old: str, new: str = "", **options: "Unpack[DiffOptions]") -> Diff:
    """Compares two moments: see :meth:`Client.diff`."""
    return _client().diff(old, new, **options)
