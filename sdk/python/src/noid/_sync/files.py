# Made by unasync.py of _async: edit that.
"""The files of a guest."""

from __future__ import annotations

import os
import tarfile
import tempfile
import warnings
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Iterator, List, Union

from ..errors import Failed, NoidWarning, NotFound
from ..models import FileInfo, decode
from ._io import in_thread

if TYPE_CHECKING:
    from .vm import VM

LocalPath = Union[str, "os.PathLike[str]"]

#: How much of a file is in memory at a time, in bytes; a tar that is larger is in a temporary file.
_PIECE = 1 << 20
_SPOOL = 16 << 20


class Files:
    """The files of a guest. Paths are absolute, those of the guest."""

    def __init__(self, vm: "VM") -> None:
        self._vm = vm

    def read(self, path: str) -> bytes:
        """What is in a file."""
        with self._vm._client._requests.open("GET", self._vm._path("/files"), params=[("path", path)]) as response:
            return response.read()

    def read_text(self, path: str, encoding: str = "utf-8") -> str:
        """The text of a file."""
        return (self.read(path)).decode(encoding)

    def write(self, path: str, data: Union[bytes, str], *, mode: int = 0o644) -> None:
        """Writes a file, whole: it has its name when it is complete. One that is there keeps owner and mode."""
        if isinstance(data, str):
            data = data.encode()
        self._vm._call("PUT", "/files", params=[("path", path), ("mode", f"{mode:03o}")], content=data)

    def list(self, path: str, *, max: int = 10_000) -> List[FileInfo]:
        """What is in a directory, by name: max files at most."""
        doc = self._vm._call("GET", "/files/list", params=[("path", path), ("max", max)])
        return [decode(FileInfo, f) for f in doc["files"]]

    def stat(self, path: str) -> FileInfo:
        """What a file is, without following a symlink."""
        return decode(FileInfo, self._vm._call("GET", "/files/stat", params=[("path", path)]))

    def exists(self, path: str) -> bool:
        """Whether there is such a file. A symlink to nothing is one."""
        try:
            self.stat(path)
        except NotFound:
            return False
        return True

    def mkdir(self, path: str, *, mode: int = 0o755, parents: bool = False) -> None:
        """Makes a directory. With parents also those on the way to it, and one that is there is no error."""
        self._vm._call("POST", "/files/mkdir", {"path": path, "mode": f"{mode:03o}", "parents": parents or None})

    def rename(self, old: str, new: str) -> None:
        """Gives a file another path. A file that has it is replaced."""
        self._vm._call("POST", "/files/rename", {"from": old, "to": new})

    def remove(self, path: str, *, recursive: bool = False) -> None:
        """Removes a file; with recursive, a directory and what is in it."""
        self._vm._call("DELETE", "/files", params=[("path", path), ("recursive", recursive)])

    def upload(self, local: LocalPath, path: str) -> None:
        """Copies a file or a directory of this machine into a directory of the guest, under its own name."""

        def pack() -> IO[bytes]:
            source = Path(local).absolute()
            spool = tempfile.SpooledTemporaryFile(max_size=_SPOOL)
            try:
                with tarfile.open(fileobj=spool, mode="w|", format=tarfile.PAX_FORMAT) as tar:
                    tar.add(source, arcname=source.name)
                spool.seek(0)
            except BaseException:
                spool.close()
                raise
            return spool  # type: ignore[return-value,unused-ignore]

        with in_thread(pack) as spool:
            self._vm._call("PUT", "/files/tar", params=[("path", path)], content=_pieces(spool), repeat=False)

    def download(self, path: str, local: LocalPath) -> None:
        """Copies a file or a directory of the guest into a directory of this machine, under its own name.

        The guest is not trusted: nothing is written outside of that directory, and no device or set-uid file is made.
        """
        with tempfile.SpooledTemporaryFile(max_size=_SPOOL) as spool:
            with self._vm._client._requests.open("GET", self._vm._path("/files/tar"), params=[("path", path)]) as response:
                for data in response.iter_bytes():
                    spool.write(data)
            spool.seek(0)
            in_thread(lambda: _unpack(spool, local))  # type: ignore[arg-type,unused-ignore]


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while True:
        data = in_thread(lambda: file.read(_PIECE))
        if not data:
            return
        yield data


def _unpack(file: IO[bytes], local: LocalPath) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise Failed("this Python cannot unpack a tar of a guest safely", "update it: 3.9.17, 3.10.12, 3.11.4 or later")
    try:
        with tarfile.open(fileobj=file, mode="r|") as tar:
            options: Any = {"filter": _inside}
            tar.extractall(local, **options)
    except KeyError as e:  # a second name of a file that was left out
        raise Failed(f"a file of the guest was not unpacked: {e}", "download what is below it by itself") from e


def _inside(member: Any, path: str) -> Any:
    """What leads out of the directory, as an absolute symbolic link does, is left out, with a warning."""
    try:
        return tarfile.data_filter(member, path)
    except tarfile.FilterError as e:
        warnings.warn(f"left out: {e}", NoidWarning, stacklevel=2)
        return None
