# Made by unasync.py of _async: edit that.
"""A VM, its checkpoints, and a command whose output comes as it is written."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Union
from urllib.parse import quote

from .. import _html
from ..models import (
    CheckpointInfo, Diff, Explored, History, Job, Output, Port, Restored, Result, Undone, Variant, VMInfo, decode, output_of, result_of,
)
from ._io import opening
from ._transport import OnProgress
from .files import Files

if TYPE_CHECKING:
    from .._options import DiffOptions, ExecOptions, ForkOptions, RestoreOptions, Unpack
    from .client import Client

Command = Union[str, Sequence[str]]
Ref = Union[str, "Checkpoint"]


def ref_of(checkpoint: Ref) -> str:
    """The id of a checkpoint."""
    return checkpoint if isinstance(checkpoint, str) else checkpoint.id


def _seconds(timeout: Optional[float]) -> Optional[float]:
    """A time as the server takes it, for which 0 is no bound."""
    return None if timeout is None else max(0.001, timeout)


def command_body(
    command: Command, *, cwd: str = "", env: Optional[Mapping[str, str]] = None, user: str = "", input: Union[str, bytes, None] = None,
    timeout: Optional[float] = None, max_output: int = 0, **more: Any,
) -> Dict[str, Any]:
    """A command as the server takes it."""
    body: Dict[str, Any] = {"command": command} if isinstance(command, str) else {"argv": [str(a) for a in command]}
    body.update({"dir": cwd or None, "env": dict(env) if env else None, "user": user or None, "max_output": max_output or None})
    body["timeout_s"] = _seconds(timeout)
    if isinstance(input, str):
        input = input.encode()
    if input:
        body["input_base64"] = b64encode(input).decode()
    body.update({k: v for k, v in more.items() if v})
    return body


class Stream:
    """A command that runs. Iterating over it gives its output as it comes; ``result`` is there at the end.

    Leaving the ``with`` block before the end hangs the command up, as ssh does.
    """

    def __init__(self, vm: "VM", command: Command, path: str, body: Dict[str, Any], check: bool) -> None:
        self._vm, self._command, self._path, self._body, self._check = vm, command, path, body, check
        self._events: Optional[Any] = None
        #: How the command ended. None while it runs.
        self.result: Optional[Result] = None

    def __enter__(self) -> "Stream":
        self._events = self._vm._client._requests.events("POST", self._path, self._body)
        return self

    def __exit__(self, *exc: Any) -> None:
        events, self._events = self._events, None
        if events is not None:
            events.close()

    def __iter__(self) -> "Stream":
        return self

    def __next__(self) -> Output:
        if self._events is None:
            raise RuntimeError("the stream is read outside of its with block")
        for name, doc in self._events:
            if name == "output":
                return output_of(doc)
            if name == "result":
                self.result = result_of(doc)
                _finish(self.result, self._command, self._check)
        raise StopIteration


def _finish(result: Result, command: Command, check: bool) -> Result:
    """The result, or an error if the command ran out of time, or failed and was to be checked."""
    return result.check(command) if check or result.timed_out else result


class Checkpoint:
    """A VM's memory and disk at a moment."""

    def __init__(self, vm: "VM", info: CheckpointInfo) -> None:
        self._vm = vm
        #: What was known of it when it was asked for.
        self.info = info

    @property
    def id(self) -> str:
        """Its id, 8 digits."""
        return self.info.id

    @property
    def label(self) -> str:
        """Its label, or the empty string."""
        return self.info.label

    def __str__(self) -> str:
        return f"{self._vm.name}@{self.id}"

    def __repr__(self) -> str:
        label = f" {self.label!r}" if self.label else ""
        return f"<noid.Checkpoint {self}{label}>"

    def _repr_html_(self) -> str:
        return _html.record(self.info)

    def restore(self, **options: "Unpack[RestoreOptions]") -> Restored:
        """Puts the VM back to this: see :meth:`VM.restore`."""
        return self._vm.restore(self, **options)

    def fork(self, n: int = 1, **options: "Unpack[ForkOptions]") -> VMs:
        """Makes running copies of this: see :meth:`VM.fork`."""
        return self._vm.fork(n, checkpoint=self, **options)

    def exec(self, command: Command, **options: "Unpack[ExecOptions]") -> Result:
        """Runs a command in a throw-away clone of this: see :meth:`VM.exec`."""
        return self._vm.exec(command, at=self, **options)

    def diff(self, other: Optional[Ref] = None, **options: "Unpack[DiffOptions]") -> Diff:
        """Compares this with another checkpoint, or with the VM as it is now."""
        return self._vm.diff(self, other, **options)

    def pin(self, pinned: bool = True) -> None:
        """Has it stay when checkpoints are pruned; with False, no longer."""
        self._vm._call("PUT" if pinned else "DELETE", f"/checkpoints/{self.id}/pin")

    def forget(self) -> None:
        """Deletes it."""
        self._vm._call("DELETE", f"/checkpoints/{self.id}")


class VM:
    """A VM. One that ``run`` or ``fork`` has made is destroyed at the end of a ``with`` block; others stay."""

    def __init__(self, client: "Client", info: VMInfo, temporary: bool = False) -> None:
        self._client = client
        self._info = info
        self._temporary = temporary
        #: The files of the guest.
        self.files = Files(self)

    @property
    def name(self) -> str:
        """Its name."""
        return self._info.name

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<noid.VM {self.name!r} {self._info.state}>"

    def _repr_html_(self) -> str:
        return _html.record(self._info)

    def __enter__(self) -> "VM":
        return self

    def __exit__(self, *exc: Any) -> None:
        if self._temporary:
            self.destroy(checkpoints=True)

    def _call(self, method: str, path: str = "", body: Optional[Dict[str, Any]] = None, **options: Any) -> Any:
        return self._client._requests.call(method, self._path(path), body, **options)

    def _path(self, path: str) -> str:
        return f"/vms/{quote(self.name, safe='')}{path}"

    def inspect(self) -> Dict[str, Any]:
        """All that is known of it."""
        doc: Dict[str, Any] = self._call("GET")
        return doc

    def info(self) -> VMInfo:
        """Asks how it is now."""
        self._info = decode(VMInfo, self._call("GET"))
        return self._info

    def exec(
        self, command: Command, *, check: bool = False, cwd: str = "", env: Optional[Mapping[str, str]] = None, user: str = "",
        input: Union[str, bytes, None] = None, timeout: Optional[float] = None, max_output: int = 0, at: Optional[Ref] = None,
        turn: str = "",
    ) -> Result:
        """Runs a command and waits for its end.

        A str is a line for ``sh -c``; a list is a program and its arguments. The result has up to ``max_output`` bytes
        (65536 without it, 1 MiB at most) of each of its outputs: as many of the beginning as of the end.

        :param check: raise :class:`CommandError` if it fails
        :param timeout: seconds after which it is ended and :class:`CommandTimeout` raised
        :param at: run it in a throw-away clone of this checkpoint (or of "now") instead
        :param turn: an id of commands that belong together: with auto checkpoints they have one
        """
        body = command_body(command, cwd=cwd, env=env, user=user, input=input, timeout=timeout, max_output=max_output, at=ref_of(at) if at else "", turn=turn)
        # Not repeated: half of it may have been done.
        return _finish(result_of(self._call("POST", "/exec", body, repeat=False)), command, check)

    def stream(
        self, command: Command, *, check: bool = False, cwd: str = "", env: Optional[Mapping[str, str]] = None, user: str = "",
        input: Union[str, bytes, None] = None, timeout: Optional[float] = None,
    ) -> Stream:
        """Runs a command whose output is read as it comes, in a ``with`` block. See :meth:`exec`."""
        body = command_body(command, cwd=cwd, env=env, user=user, input=input, timeout=timeout)
        return Stream(self, command, self._path("/exec"), body, check)

    def start_job(self, command: Command, *, cwd: str = "", env: Optional[Mapping[str, str]] = None, user: str = "") -> str:
        """Starts a command that goes on by itself; returns the id of its job."""
        body = command_body(command, cwd=cwd, env=env, user=user, detach=True)
        return result_of(self._call("POST", "/exec", body, repeat=False)).check(command).job

    def try_(
        self, command: Command, *, always: bool = False, check: bool = False, cwd: str = "", env: Optional[Mapping[str, str]] = None,
        user: str = "", input: Union[str, bytes, None] = None, timeout: Optional[float] = None, max_output: int = 0,
    ) -> Result:
        """Runs a command, and puts the VM back, memory and disk, if it fails: ``went_back``. With always, also if not."""
        body = command_body(command, cwd=cwd, env=env, user=user, input=input, timeout=timeout, max_output=max_output, always=always)
        return _finish(result_of(self._call("POST", "/try", body, repeat=False)), command, check)

    def checkpoint(self, label: str = "") -> Checkpoint:
        """Keeps its memory and disk as they are now."""
        return Checkpoint(self, decode(CheckpointInfo, self._call("POST", "/checkpoints", {"label": label or None})))

    def checkpoints(self, *, size: bool = False) -> List[Checkpoint]:
        """Its checkpoints, the oldest first. With size, also what they take of the disk."""
        doc = self._call("GET", "/checkpoints", params=[("size", True)] if size else ())
        return [Checkpoint(self, decode(CheckpointInfo, c)) for c in doc["checkpoints"]]

    def restore(self, checkpoint: Ref, *, disk_only: bool = False, backup: bool = True) -> Restored:
        """Puts it back to a checkpoint, memory and all.

        What is there now is kept as a checkpoint first, unless backup is False. With disk_only its disk is booted.
        """
        body = {"disk_only": disk_only or None, "no_backup": not backup or None}
        return decode(Restored, self._call("POST", f"/checkpoints/{quote(ref_of(checkpoint), safe='')}/restore", body))

    def clone(
        self, checkpoint: Ref, name: str, *, ports: Sequence[str] = (), secrets: Sequence[str] = (), keep_identity: bool = False,
    ) -> "VM":
        """Makes a new VM of one of its checkpoints, which stays."""
        body = {"as": name, "ports": list(ports) or None, "secrets": list(secrets) or None, "keep_identity": keep_identity or None}
        self._call("POST", f"/checkpoints/{quote(ref_of(checkpoint), safe='')}/restore", body)
        return self._client.get(name)

    def fork(
        self, n: int = 1, *, checkpoint: Optional[Ref] = None, name: str = "", prefix: str = "", ports: Sequence[str] = (),
        secrets: Sequence[str] = (), keep_identity: bool = False, progress: Optional[OnProgress] = None,
    ) -> VMs:
        """Makes n running copies of it as it is, or of a checkpoint.

        They are named name, for one, or prefix and a number. Those that could not be made are in ``failed``.
        """
        body = {
            "n": n, "checkpoint": ref_of(checkpoint) if checkpoint else None, "as": name or None, "prefix": prefix or None,
            "ports": list(ports) or None, "secrets": list(secrets) or None, "keep_identity": keep_identity or None,
        }
        return opening(self._fork(body, progress))

    def _fork(self, body: Dict[str, Any], progress: Optional[OnProgress]) -> VMs:
        doc = self._client._requests.work("POST", self._path("/fork"), body, progress)
        vms = VMs(VM(self._client, decode(VMInfo, i), temporary=True) for i in doc["vms"])
        vms.failed = {f["name"]: f["error"] for f in doc["failed"]}
        vms.downtime_ms = doc["downtime_ms"]
        return vms

    def diff(
        self, old: Optional[Ref] = None, new: Optional[Ref] = None, *, paths: Sequence[str] = (), patch: bool = False, all: bool = False,
        processes: bool = False, packages: bool = False, max: int = 0,
    ) -> Diff:
        """What has changed since a checkpoint (its last, without one), or between two.

        :param patch: the lines that differ, of texts
        :param all: also what changes by itself: /run, /tmp, logs
        :param processes: processes, and no files
        :param max: how many files to list; 1000 without it
        """
        sides = (self.name, "") if old is None else (f"{self.name}@{ref_of(old)}", f"{self.name}@{ref_of(new) if new else 'now'}")
        return self._client.diff(*sides, paths=paths, patch=patch, all=all, processes=processes, packages=packages, max=max)

    def log(self, max: int = 0, *, size: bool = False) -> History:
        """What it has been through, the newest first; with max, the newest so many."""
        return decode(History, self._call("GET", "/history", params=[("max", max), ("size", size)]))

    def undo(self, n: int = 1) -> Undone:
        """Puts it back to before its last n changes."""
        return decode(Undone, self._call("POST", "/undo", {"n": n}))

    def redo(self, n: int = 1) -> Undone:
        """Takes back its last n undos."""
        return decode(Undone, self._call("POST", "/redo", {"n": n}))

    def explore(
        self, commands: Sequence[Command], *, score: str = "", jobs: int = 0, changes: bool = False, checkpoint: Optional[Ref] = None,
        cwd: str = "", user: str = "", timeout: Optional[float] = None, on_variant: Optional[Callable[[Variant], object]] = None,
    ) -> Explored:
        """Runs variants side by side, each in a clone of its own, and keeps what each has made as a checkpoint.

        :param score: a line for ``sh -c`` that prints a number, run where a variant succeeded
        :param jobs: how many run at a time; 2 without it
        :param changes: count the files that each has changed
        :param on_variant: is called with each variant as it ends
        """
        body = {
            "argvs": [["sh", "-c", c] if isinstance(c, str) else [str(a) for a in c] for c in commands], "score": score or None,
            "jobs": jobs or None, "changes": changes or None, "checkpoint": ref_of(checkpoint) if checkpoint else None,
            "dir": cwd or None, "user": user or None, "timeout_s": _seconds(timeout),
        }
        if on_variant is None:
            return decode(Explored, self._call("POST", "/explore", body, repeat=False))
        for name, doc in self._client._requests.events("POST", self._path("/explore"), body):
            if name == "variant":
                on_variant(decode(Variant, doc))
            elif name == "result":
                return decode(Explored, doc)
        raise AssertionError("unreachable: events end with a result")

    def keep(self, variant: int) -> Undone:
        """Makes a variant of its last exploration the VM; the other variants are forgotten."""
        return decode(Undone, self._call("POST", "/keep", {"variant": variant}))

    def auto(self, when: str) -> None:
        """Says when checkpoints are made by themselves: "exec" (before each command), a time such as "5m", or "off"."""
        self._call("PUT", "/auto", {"when": when})

    def ports(self) -> List[Port]:
        """The ports of this host that lead to it."""
        return [decode(Port, p) for p in (self._call("GET", "/ports"))["ports"]]

    def add_port(self, port: str) -> List[Port]:
        """Has a port lead to it, at once: "HOST:GUEST", or "GUEST" for any that is free. Returns what was added."""
        return [decode(Port, p) for p in (self._call("POST", "/ports", {"ports": [port]}))["ports"]]

    def remove_port(self, port: str) -> None:
        """Takes a port from it, at once."""
        self._call("DELETE", "/ports", params=[("port", port)])

    def grant_secret(self, name: str) -> None:
        """Lets it use a secret."""
        self._call("PUT", f"/secrets/{quote(name, safe='')}")

    def revoke_secret(self, name: str) -> None:
        """Takes a secret from it."""
        self._call("DELETE", f"/secrets/{quote(name, safe='')}")

    def jobs(self) -> List[Job]:
        """The commands that noid runs in it."""
        return [decode(Job, j) for j in (self._call("GET", "/jobs"))["jobs"]]

    def kill(self, job: str, signal: str = "TERM") -> None:
        """Sends a signal to a command and its process group."""
        self._call("POST", f"/jobs/{quote(job, safe='')}/kill", {"signal": signal})

    def logs(self, *, vmm: bool = False, last: int = 0) -> bytes:
        """What its console, or its VMM, wrote: the last so many lines, or all."""
        params = [("vmm", vmm), ("last", last)]
        with self._client._requests.open("GET", self._path("/logs"), params=params) as response:
            return response.read()

    def start(self) -> None:
        """Boots it, after it was stopped."""
        self._call("POST", "/start")

    def stop(self, *, force: bool = False) -> None:
        """Shuts it down; its disk stays. With force, without asking its guest."""
        self._call("POST", "/stop", {"force": force or None})

    def pause(self) -> None:
        """Has it stand still."""
        self._call("POST", "/pause")

    def resume(self) -> None:
        """Lets it run again."""
        self._call("POST", "/resume")

    def rename(self, name: str) -> None:
        """Gives it another name."""
        self._call("POST", "/rename", {"name": name})
        self._info = decode(VMInfo, self._client._requests.call("GET", f"/vms/{quote(name, safe='')}"))

    def destroy(self, *, checkpoints: bool = False) -> None:
        """Destroys it, with its disk. Its checkpoints stay, unless they are to go too."""
        self._call("DELETE", params=[("checkpoints", True)] if checkpoints else ())


class VMs(List[VM]):
    """Several VMs. Those that ``fork`` has made are destroyed at the end of a ``with`` block."""

    def __init__(self, vms: Iterable[VM] = ()) -> None:
        super().__init__(vms)
        #: Why those that could not be made could not be, by name.
        self.failed: Dict[str, str] = {}
        #: How long the VM stood still for it, in milliseconds.
        self.downtime_ms = 0.0

    def _repr_html_(self) -> str:
        return _html.records((vm._info for vm in self), ("name", "state", "pid", "cpus", "mem_mib", "driver", "created_at"))

    def __enter__(self) -> "VMs":
        return self

    def __exit__(self, *exc: Any) -> None:
        errors = []
        for vm in self:
            try:
                vm.__exit__(*exc)
            except Exception as e:
                errors.append(e)
        if errors:
            raise errors[0]
