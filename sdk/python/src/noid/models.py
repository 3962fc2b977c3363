"""What noid says of VMs, as plain data. The fields are those of ``noid serve --print-openapi``."""

from __future__ import annotations

import dataclasses
import functools
import re
import shlex
from base64 import b64decode
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Dict, Iterator, List, Optional, Type, TypeVar, Union, get_args, get_origin, get_type_hints

from . import _html
from .errors import CommandError, CommandTimeout

T = TypeVar("T")


@dataclass(frozen=True)
class VMInfo:
    """A VM, as it was when it was asked for."""

    name: str
    state: str
    cpus: int
    mem_mib: int
    driver: str
    created_at: datetime
    pid: int = 0
    error: str = ""
    paused_because: str = ""

    def _repr_html_(self) -> str:
        return _html.record(self)


@dataclass(frozen=True)
class CheckpointInfo:
    """A checkpoint: a VM's memory and disk at a moment."""

    id: str
    vm: str
    label: str
    created_at: Optional[datetime]
    memory: bool
    synced: bool
    downtime_ms: float
    disk_bytes: int
    memory_bytes: int
    state_bytes: int
    driver: str
    driver_version: str
    noid_version: str
    parent: str = ""
    agent_version: str = ""
    hardware: Dict[str, str] = field(default_factory=dict)
    cpu_model: str = ""
    own_bytes: Optional[int] = None
    shared_bytes: Optional[int] = None
    error: str = ""


@dataclass(frozen=True)
class Entry:
    """A checkpoint in a history. ``by`` says what made it, if nobody asked for it: auto, try, restore or undo."""

    id: str
    created_at: Optional[datetime]
    label: str = ""
    parent: str = ""
    by: str = ""
    command: str = ""
    turn: str = ""
    to: str = ""
    pinned: bool = False
    clones: List[str] = field(default_factory=list)
    own_bytes: Optional[int] = None
    error: str = ""


@dataclass(frozen=True)
class History:
    """What a VM has been through, the newest first. ``now`` is the checkpoint that it came from last."""

    vm: str
    checkpoints: List[Entry]
    now: str = ""

    def _repr_html_(self) -> str:
        return _html.records(self.checkpoints, ("id", "created_at", "label", "by", "command"))


@dataclass(frozen=True)
class Undone:
    """Where an undo or a redo has put a VM; ``kept`` is the checkpoint of what it was before."""

    vm: str
    to: str
    kept: str = ""


@dataclass(frozen=True)
class Restored:
    """What a restore has done; ``kept`` is the checkpoint of what was there before."""

    vm: str
    kept: str = ""


@dataclass(frozen=True)
class FileState:
    """What a file was at one of the two moments of a diff."""

    mode: str
    uid: int
    gid: int
    size: int
    modified: datetime
    target: str = ""


@dataclass(frozen=True)
class Change:
    """A file that differs. ``kind`` is added, removed, changed or renamed; ``was`` the old path of a renamed one."""

    kind: str
    path: str
    was: str = ""
    what: List[str] = field(default_factory=list)
    before: Optional[FileState] = None
    after: Optional[FileState] = None


@dataclass(frozen=True)
class Process:
    """A process of the guest."""

    pid: int
    start: int
    uid: int
    command: str


@dataclass(frozen=True)
class ProcessChange:
    """A process that came (no ``before``), went (no ``after``), or is another under the same id."""

    before: Optional[Process] = None
    after: Optional[Process] = None


@dataclass(frozen=True)
class PackageChange:
    """A package that came, went, or has another version."""

    manager: str
    name: str
    before: str = ""
    after: str = ""


@dataclass(frozen=True)
class Diff:
    """How two moments differ. Iterating over it gives the files. ``cut``: there are more than these."""

    from_: str
    to: str
    changes: List[Change]
    folded: int
    cut: bool
    total: int
    processes: List[ProcessChange] = field(default_factory=list)
    packages: List[PackageChange] = field(default_factory=list)
    patch: str = ""
    patch_cut: bool = False

    def __iter__(self) -> Iterator[Change]:
        return iter(self.changes)

    def __len__(self) -> int:
        return len(self.changes)

    def __bool__(self) -> bool:
        return bool(self.changes or self.processes or self.packages)

    def __str__(self) -> str:
        signs = {"added": "+", "removed": "-", "changed": "~", "renamed": ">"}
        return "\n".join(f"{signs.get(c.kind, '?')} {c.path}" for c in self.changes)

    def _repr_html_(self) -> str:
        return _html.diff(self)


@dataclass(frozen=True)
class Cut:
    """Where bytes of a stream are left out."""

    at: int
    bytes: int


@dataclass(frozen=True)
class Result:
    """How a command ended. ``exit_code`` is 128+N for signal N, 127 if it was not found, 126 if not executable."""

    exit_code: int
    stdout_bytes: bytes = b""
    stderr_bytes: bytes = b""
    stdout_cut: Optional[Cut] = None
    stderr_cut: Optional[Cut] = None
    signal: str = ""
    timed_out: bool = False
    error: str = ""
    job: str = ""
    went_back: bool = False
    before: str = ""

    @property
    def stdout(self) -> str:
        """Its standard output, as UTF-8; what is none is U+FFFD."""
        return self.stdout_bytes.decode("utf-8", "replace")

    @property
    def stderr(self) -> str:
        """Its standard error, as UTF-8."""
        return self.stderr_bytes.decode("utf-8", "replace")

    @property
    def ok(self) -> bool:
        """Whether it succeeded."""
        return self.exit_code == 0 and not self.timed_out

    def check(self, command: object = "the command") -> "Result":
        """Raises :class:`CommandError` unless it succeeded. Returns itself."""
        if self.ok:
            return self
        name = command if isinstance(command, str) else shlex.join(command)  # type: ignore[arg-type]
        if self.timed_out:
            raise CommandTimeout(f"{name}: ran out of its time", self)
        why = self.error or self.stderr.strip()[-500:]
        raise CommandError(f"{name}: exit code {self.exit_code}" + (f": {why}" if why else ""), self)

    def _repr_html_(self) -> str:
        return _html.result(self)


@dataclass(frozen=True)
class Output:
    """A piece of a command's output. ``stream`` is stdout or stderr."""

    stream: str
    data: bytes

    @property
    def text(self) -> str:
        """The piece as UTF-8. No character is ever cut in two by pieces."""
        return self.data.decode("utf-8", "replace")


@dataclass(frozen=True)
class Progress:
    """How far something long is: ``done`` of ``total``, where that is known."""

    message: str
    done: int = 0
    total: int = 0


@dataclass(frozen=True)
class FileInfo:
    """A file of the guest. ``type`` is file, dir, symlink, fifo, socket, char, block or unknown; ``mode`` is octal."""

    name: str
    type: str
    mode: str
    uid: int
    gid: int
    size: int
    modified: datetime
    name_base64: str = ""
    target: str = ""


@dataclass(frozen=True)
class Variant:
    """How a variant of an exploration went. ``output`` is the end of it, ``checkpoint`` what it has made."""

    variant: int
    command: str
    exit_code: int
    seconds: float
    output: str
    timed_out: bool = False
    score: str = ""
    changes: Optional[int] = None
    checkpoint: str = ""
    error: str = ""


@dataclass(frozen=True)
class Explored:
    """How the variants of an exploration went, by their numbers. Iterating over it gives them."""

    vm: str
    variants: List[Variant]

    def __iter__(self) -> Iterator[Variant]:
        return iter(self.variants)

    def __len__(self) -> int:
        return len(self.variants)

    def _repr_html_(self) -> str:
        return _html.records(self.variants, ("variant", "command", "exit_code", "seconds", "score", "changes", "checkpoint", "error"))


@dataclass(frozen=True)
class Port:
    """A port of this host that leads to a guest. ``problem`` says why nothing listens."""

    host: str
    guest: Union[int, str]
    proto: str
    problem: str = ""


@dataclass(frozen=True)
class Secret:
    """A secret, without its value."""

    name: str
    hosts: List[str]
    header: str
    allow: List[str]
    body: bool
    placeholder: str
    where: str
    set: datetime
    command: str = ""


@dataclass(frozen=True)
class Job:
    """A command that noid runs in a guest."""

    id: str
    pid: int
    user: str
    started_at: datetime
    state: str
    tty: bool
    attached: bool
    detached: bool
    command: str
    exit_code: Optional[int] = None


@dataclass(frozen=True)
class Version:
    """Which noid serves."""

    version: str
    api: str
    instance: str = ""


def result_of(doc: Dict[str, Any]) -> Result:
    """The result that a document of the server's tells."""
    doc = dict(doc)
    for stream in "stdout", "stderr":
        text = doc.pop(stream, "")
        doc[stream + "_bytes"] = b64decode(text) if doc.pop(stream + "_encoding", "") == "base64" else text.encode()
    return decode(Result, doc)


def output_of(doc: Dict[str, Any]) -> Output:
    """The piece of output that an event tells."""
    return Output(doc["stream"], b64decode(doc["base64"]) if "base64" in doc else doc.get("text", "").encode())


@functools.lru_cache(maxsize=None)
def _hints(to: Any) -> Dict[str, Any]:
    return get_type_hints(to)


def decode(to: Type[T], doc: Dict[str, Any]) -> T:
    """doc as the dataclass to. Fields that to does not know are of a newer noid, and left out."""
    hints = _hints(to)  # type: ignore[arg-type]
    values = {}
    for f in dataclasses.fields(to):  # type: ignore[arg-type]
        key = f.name.rstrip("_")
        if key in doc:
            values[f.name] = _value(hints[f.name], doc[key])
    return to(**values)


def _value(hint: Any, value: Any) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if value is None:
        return [] if origin is list else None
    if origin is Union and type(None) in args:
        return _value(args[0], value)
    if origin is list:
        return [_value(args[0], v) for v in value]
    if hint is datetime:
        return _time(value)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return decode(hint, value)
    return value


def _time(text: str) -> Optional[datetime]:
    """A time of RFC 3339, to the microsecond. None for none."""
    if not text:
        return None
    m = re.fullmatch(r"(\S{19})(?:\.(\d{1,9}))?Z", text)
    if not m:
        return datetime.fromisoformat(text)
    return datetime.fromisoformat(f"{m[1]}.{(m[2] or '0')[:6]:0<6}+00:00")
