"""The options of functions that hand them on, for who checks types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Mapping, Optional, Sequence, TypedDict, Union

from .models import Progress

if TYPE_CHECKING:  # which it need not be installed for
    from typing_extensions import Unpack as Unpack


class VMOptions(TypedDict, total=False):
    """The options of :meth:`Client.create`."""

    cpus: int
    mem_mib: int
    disk_mib: int
    net: str
    allow: Sequence[str]
    deny: Sequence[str]
    ports: Sequence[str]
    secrets: Sequence[str]
    auto: str
    wait: bool
    progress: Optional[Callable[[Progress], object]]


class RunOptions(VMOptions, total=False):
    """The options of :meth:`Client.run`."""

    name: str


class ExecOptions(TypedDict, total=False):
    """The options of :meth:`VM.exec` in a checkpoint."""

    check: bool
    cwd: str
    env: Optional[Mapping[str, str]]
    user: str
    input: Union[str, bytes, None]
    timeout: Optional[float]
    max_output: int


class ForkOptions(TypedDict, total=False):
    """The options of :meth:`VM.fork` of a checkpoint."""

    name: str
    prefix: str
    ports: Sequence[str]
    secrets: Sequence[str]
    keep_identity: bool
    progress: Optional[Callable[[Progress], object]]


class RestoreOptions(TypedDict, total=False):
    """The options of :meth:`VM.restore`."""

    disk_only: bool
    backup: bool


class DiffOptions(TypedDict, total=False):
    """The options of :meth:`VM.diff`."""

    paths: Sequence[str]
    patch: bool
    all: bool
    processes: bool
    packages: bool
    max: int
