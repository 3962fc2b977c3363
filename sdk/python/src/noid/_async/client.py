"""The client: VMs are made, found and listed by it."""

from __future__ import annotations

import secrets as random
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence
from urllib.parse import quote

import httpx

from ..models import Diff, Secret, Version, VMInfo, decode
from ._io import Opening, opening
from ._transport import AsyncRequests
from .vm import AsyncVM, AsyncVMs

if TYPE_CHECKING:
    from .._options import RunOptions, Unpack, VMOptions


class AsyncClient:
    """Speaks to noid on this machine.

    It speaks to ``noid serve`` if one listens in noid's home, else it starts one, which ends with the last client.

    :param url: of a ``noid serve --listen``, with its token; for one elsewhere, lead its port here by ``ssh -L``
    :param timeout: seconds that the server may be silent; as long as it takes, without it
    """

    def __init__(
        self, *, url: str = "", token: str = "", timeout: Optional[float] = None, transport: Optional[httpx.AsyncBaseTransport] = None,
    ) -> None:
        self._requests = AsyncRequests(url, token, timeout, transport)

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *exc: Any) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Lets go of the server. VMs run on."""
        await self._requests.aclose()

    async def version(self) -> Version:
        """Which noid it speaks to."""
        return await self._requests.version()

    def run(self, image: str = "", **options: "Unpack[RunOptions]") -> Opening[AsyncVM]:
        """Makes a VM that is destroyed at the end of the ``with`` block. It has a name of its own without one.

        The options are those of :meth:`create`.
        """
        name = options.pop("name", "") or "run-" + random.token_hex(4)
        return opening(self._create(name, image, options, temporary=True))

    async def create(self, name: str, image: str = "", **options: "Unpack[VMOptions]") -> AsyncVM:
        """Makes a VM, boots it and waits until it runs commands.

        :param name: its name
        :param image: a container image such as "python:3.13", pulled if it is not there; the user's default without one
        :param progress: is called with a :class:`Progress` as it goes on
        :param cpus: virtual CPUs
        :param mem_mib: memory in MiB
        :param disk_mib: size of its own disk in MiB
        :param net: "none", "default" (the internet, not this machine or its network) or a profile that the user has made
        :param allow: rules of what it may reach, and nothing else
        :param deny: rules of what it may not reach
        :param ports: ports that lead to the guest: "HOST:GUEST", or "GUEST" for any that is free
        :param secrets: names of secrets that it may use
        :param auto: when checkpoints are made by themselves: "exec" (before each command), a time such as "5m", or "off"
        :param wait: False to return while it boots
        """
        return await self._create(name, image, options)

    async def _create(self, name: str, image: str, options: "VMOptions", temporary: bool = False) -> AsyncVM:
        progress = options.get("progress")
        body = _spec(name, image, **options)
        return AsyncVM(self, decode(VMInfo, await self._requests.work("POST", "/vms", body, progress)), temporary)

    async def get(self, name: str) -> AsyncVM:
        """The VM of this name."""
        return AsyncVM(self, decode(VMInfo, await self._requests.call("GET", f"/vms/{quote(name, safe='')}")))

    async def list(self) -> AsyncVMs:
        """All VMs."""
        doc = await self._requests.call("GET", "/vms")
        return AsyncVMs(AsyncVM(self, decode(VMInfo, i)) for i in doc["vms"])

    async def secrets(self) -> List[Secret]:
        """The secrets that VMs may be let use, without their values."""
        return [decode(Secret, s) for s in (await self._requests.call("GET", "/secrets"))["secrets"]]

    async def diff(
        self, old: str, new: str = "", *, paths: Sequence[str] = (), patch: bool = False, all: bool = False, processes: bool = False,
        packages: bool = False, max: int = 0,
    ) -> Diff:
        """Compares two moments: VMs, "NAME@ID", "NAME@now" or images. See :meth:`VM.diff`."""
        params = [("from", old), *([("to", new)] if new else ()), *(("path", p) for p in paths)]
        flags = {"patch": patch, "all": all, "processes": processes, "packages": packages}
        query = [*params, *((k, True) for k, v in flags.items() if v), *([("max", max)] if max else ())]
        doc = await self._requests.call("GET", "/diff", params=query)
        return decode(Diff, doc)


def _spec(
    name: str, image: str, *, cpus: int = 0, mem_mib: int = 0, disk_mib: int = 0, net: str = "", allow: Sequence[str] = (),
    deny: Sequence[str] = (), ports: Sequence[str] = (), secrets: Sequence[str] = (), auto: str = "", wait: bool = True,
    progress: object = None,
) -> Dict[str, Any]:
    """A new VM as the server takes it. progress is not for it."""
    body = {
        "name": name, "image": image, "cpus": cpus, "mem_mib": mem_mib, "disk_mib": disk_mib, "net": net, "allow": list(allow),
        "deny": list(deny), "ports": list(ports), "secrets": list(secrets), "auto": auto, "no_wait": not wait,
    }
    return {k: v for k, v in body.items() if v}
