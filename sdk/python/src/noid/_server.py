"""Finds noid, and a server of it that this process may speak to: the home's, or one that it starts itself."""

from __future__ import annotations

import atexit
import os
import select
import shutil
import socket
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Dict, Optional, Tuple

from .errors import HostError

#: How long a server may take to listen, in seconds. It takes 50 ms; an emulated or busy machine longer.
START_TIMEOUT = 60.0


def find_binary() -> str:
    """The path of noid: ``$NOID``, else the one in ``$PATH``, else the one that this package carries."""
    named = os.environ.get("NOID")
    if named:
        found = shutil.which(named)
        if not found:
            raise HostError(f"NOID: {named!r} is no program", "set NOID to the path of noid, or unset it")
        return found
    carried = Path(__file__).parent / "_bin" / "noid"
    found = shutil.which("noid") or (str(carried) if os.access(carried, os.X_OK) else None)
    if not found:
        raise HostError("noid is not installed", "put noid into PATH, or its path into NOID")
    return found


def home() -> Path:
    """noid's home: ``$NOID_HOME``, else ``~/.noid``."""
    return Path(os.environ.get("NOID_HOME") or Path.home() / ".noid").absolute()


class Server:
    """A ``noid serve`` that this process has started, for one home. It ends with its last user, or this process."""

    def __init__(self, key: Tuple[str, str]) -> None:
        self._key = key
        self._users = 0
        self._process: Optional["subprocess.Popen[bytes]"] = None
        self._dir = ""

    @property
    def socket(self) -> str:
        """The path of its socket."""
        return os.path.join(self._dir, "serve.sock")

    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts it, unless it runs. Returns when it listens."""
        if self.alive():
            return
        self.end()
        binary, noid_home = self._key
        self._dir = tempfile.mkdtemp(prefix="noid-")  # mode 0700
        if len(self.socket.encode()) > 107:  # what a socket's path may have
            os.rmdir(self._dir)
            self._dir = tempfile.mkdtemp(prefix="noid-", dir="/tmp")
        environment = {**os.environ, "NOID_HOME": noid_home}
        log = open(os.path.join(self._dir, "log"), "w+b")
        try:
            # It ends when the pipe to its standard input does, however this process ends. A session of its own, so
            # that Ctrl+C is for this process alone.
            self._process = subprocess.Popen(
                [binary, "serve", "--stdin", "--socket", self.socket],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment, start_new_session=True,
            )
            assert self._process.stdout is not None
            ready, _, _ = select.select([self._process.stdout], [], [], START_TIMEOUT)
            if ready and self._process.stdout.readline().startswith(b"unix:"):
                return
            self._process.kill() if not ready else self._process.wait()
            log.seek(0)
            text = log.read().decode("utf-8", "replace").strip()[-2000:]
            self.end()
            raise HostError(f"starting {binary} serve: {text or 'it does not listen'}", "noid doctor says what this host can do")
        finally:
            log.close()

    def end(self) -> None:
        """Ends it, and waits for that."""
        process, self._process = self._process, None
        if process is not None:
            for pipe in process.stdin, process.stdout:
                if pipe is not None:
                    pipe.close()
            process.wait()
        if self._dir:
            shutil.rmtree(self._dir, ignore_errors=True)
            self._dir = ""

    def release(self) -> None:
        """Says that a user of :func:`acquire` is done."""
        with _lock:
            self._users -= 1
            if self._users == 0 and _servers.get(self._key) is self:
                del _servers[self._key]
                self.end()


_lock = threading.Lock()
_servers: Dict[Tuple[str, str], Server] = {}


def acquire(binary: str, noid_home: Path) -> Server:
    """This process's own server for noid_home, which is started if need be. Release it once."""
    key = (binary, str(noid_home))
    with _lock:
        server = _servers.setdefault(key, Server(key))
        try:
            server.start()
        except BaseException:
            if server._users == 0:
                del _servers[key]
            raise
        server._users += 1
        return server


def listening(path: str) -> bool:
    """Whether somebody listens on the unix socket path."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.settimeout(5)
        try:
            s.connect(path)
        except (OSError, ValueError):
            return False
    return True


@atexit.register
def _end_all() -> None:
    with _lock:
        servers = list(_servers.values())
        _servers.clear()
    for server in servers:
        server.end()


def _forget() -> None:
    """In a child of fork(2): the servers are the parent's. The child lets go of their pipes, without waiting for them."""
    global _lock
    _lock = threading.Lock()
    for server in _servers.values():
        process, server._process, server._dir = server._process, None, ""
        for pipe in (process.stdin, process.stdout) if process is not None else ():
            if pipe is not None:
                pipe.close()
        if process is not None:
            process.returncode = 0  # no child of this process
    _servers.clear()


os.register_at_fork(after_in_child=_forget)
