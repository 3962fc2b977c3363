"""Requests to noid serve: which server, what is repeated, and how errors are told."""

from __future__ import annotations

import json
import uuid
import warnings
from contextlib import asynccontextmanager
from typing import Any, AsyncIterator, Callable, Dict, Optional, Sequence, Tuple, Union

import httpx

from .. import _server
from .._events import EventParser
from ..errors import Disconnected, Error, HostError, NoidWarning, TimedOut, of_problem
from ..models import Progress, Version, decode
from ._io import AsyncLock, in_thread

Params = Sequence[Tuple[str, Union[str, int, bool]]]
OnProgress = Callable[[Progress], object]

#: How often a request is sent at most when the connection breaks.
ATTEMPTS = 3


class AsyncRequests:
    """Sends requests to one server, over connections that are kept."""

    def __init__(self, url: str, token: str, timeout: Optional[float], transport: Optional[httpx.AsyncBaseTransport]) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._timeout = httpx.Timeout(timeout, connect=10 if timeout is None else timeout, pool=None)
        self._transport = transport
        self._lock = AsyncLock()
        self._http: Optional[httpx.AsyncClient] = None
        self._server: Optional[_server.Server] = None
        self._version = Version("", "")
        self._closed = False

    async def version(self) -> Version:
        """Which noid serves."""
        await self._ready()
        return self._version

    async def call(
        self,
        method: str,
        path: str,
        body: Optional[Dict[str, Any]] = None,
        params: Params = (),
        *,
        content: Any = None,
        repeat: bool = True,
    ) -> Any:
        """Sends a request; returns the document that answers it. Without repeat it is sent again only if it never
        went out."""
        async with self.open(method, path, body, params, content=content, repeat=repeat) as response:
            data = await response.aread()
        return json.loads(data) if data else None

    async def work(self, method: str, path: str, body: Dict[str, Any], progress: Optional[OnProgress]) -> Any:
        """Sends a request for something long; tells progress of how far it is."""
        if progress is None:
            return await self.call(method, path, body)
        async for name, doc in self.events(method, path, body):
            if name == "progress":
                progress(decode(Progress, doc))
            elif name == "result":
                return doc

    async def events(self, method: str, path: str, body: Dict[str, Any]) -> AsyncIterator[Tuple[str, Any]]:
        """Sends a request; yields its events as they come, up to its result."""
        async with self.open(method, path, body, accept="text/event-stream", repeat=False) as response:
            parser = EventParser()
            async for data in response.aiter_bytes():
                for name, doc in parser.feed(data):
                    if name == "error":
                        raise of_problem(doc, doc.get("status", 0))
                    if name == "warning":
                        warnings.warn(doc["text"], NoidWarning, stacklevel=4)
                    yield name, doc
                    if name == "result":
                        return
        raise Disconnected(f"{method} {path}: the server broke off")

    @asynccontextmanager
    async def open(
        self,
        method: str,
        path: str,
        body: Optional[Dict[str, Any]] = None,
        params: Params = (),
        *,
        content: Any = None,
        accept: str = "",
        repeat: bool = True,
    ) -> AsyncIterator[httpx.Response]:
        """Sends a request; gives the answer, whose body is to be read. An answer that is a problem is raised."""
        headers: Dict[str, str] = {"Accept": accept} if accept else {}
        if method != "GET":
            headers["Idempotency-Key"] = str(uuid.uuid4())
        if body is not None:
            content = json.dumps({k: v for k, v in body.items() if v is not None}).encode()
            headers["Content-Type"] = "application/json"
        elif content is not None:
            headers["Content-Type"] = "application/octet-stream"
        query = [(k, str(v).lower() if isinstance(v, bool) else v) for k, v in params]
        what = f"{method} {path}"
        response = await self._send(what, repeat, method=method, url="/v1" + path, params=query, content=content, headers=headers)
        try:
            if response.is_error:
                raise await _problem(response)
            for text in response.headers.get_list("noid-warning"):
                warnings.warn(text, NoidWarning, stacklevel=5)
            yield response
        except httpx.TimeoutException as e:
            raise TimedOut(f"{what}: the server did not answer in time") from e
        except httpx.TransportError as e:
            raise Disconnected(f"{what}: the connection broke: {e}") from e
        finally:
            await response.aclose()

    async def _send(self, what: str, repeat: bool, **request: Any) -> httpx.Response:
        for left in reversed(range(ATTEMPTS)):
            http = await self._ready()
            try:
                return await http.send(http.build_request(**request), stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout) as e:  # it did not go out
                await self._drop(http)
                if not left:
                    raise Disconnected(f"{what}: nobody listens: {e}") from e
            except httpx.TimeoutException as e:
                raise TimedOut(f"{what}: the server did not answer in time") from e
            except httpx.TransportError as e:
                if not (repeat and left and (request["method"] == "GET" or await self._same(http))):
                    raise Disconnected(f"{what}: the connection broke: {e}", "see whether it was done before you repeat it") from e
                if request["method"] != "GET":  # if this server has gone too by then, the next one refuses
                    request["headers"] = {**request["headers"], "Noid-Instance": self._version.instance}
        raise AssertionError("unreachable")

    async def _same(self, http: httpx.AsyncClient) -> bool:
        """Whether the server is the one that was asked: another one does not know its Idempotency-Keys."""
        known = self._version.instance
        try:
            self._version = decode(Version, (await http.get("/v1/version")).json())
        except (httpx.TransportError, ValueError, TypeError):
            return False
        return bool(known) and known == self._version.instance

    async def _ready(self) -> httpx.AsyncClient:
        async with self._lock:
            if self._closed:
                raise RuntimeError("this client is closed")
            if self._http is None:
                self._http, self._version = await self._connect()
            return self._http

    async def _connect(self) -> Tuple[httpx.AsyncClient, Version]:
        transport = self._transport
        if transport is None and not self._url:
            transport = httpx.AsyncHTTPTransport(uds=await in_thread(self._find), limits=httpx.Limits(max_connections=None))
        http = httpx.AsyncClient(transport=transport, base_url=self._url or "http://noid", headers=self._headers, timeout=self._timeout, trust_env=False)
        try:
            response = await http.get("/v1/version")
            if response.is_error:
                raise await _problem(response)
            version = decode(Version, response.json())
            if version.api != "v1":
                raise HostError(f"noid {version.version} serves {version.api!r}, and this package speaks v1", "install the package of noid's version")
            return http, version
        except httpx.TransportError as e:
            await http.aclose()
            await in_thread(self._release)
            raise Disconnected(f"no noid serve answers: {e}") from e
        except BaseException:
            await http.aclose()
            raise

    def _find(self) -> str:
        """The socket of a server: the home's, if one listens there, or of one that this process starts."""
        path = _server.home() / "serve.sock"
        if _server.listening(str(path)):
            return str(path)
        if self._server is None or not self._server.alive():
            self._release()
            self._server = _server.acquire(_server.find_binary(), _server.home())
        return self._server.socket

    def _release(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.release()

    async def _drop(self, http: httpx.AsyncClient) -> None:
        """Has the next request find a server anew: nobody listens any more."""
        async with self._lock:
            if self._http is http:
                self._http = None
                await http.aclose()

    async def aclose(self) -> None:
        """Closes the connections, and ends the server if this was the last client of one that this process started."""
        async with self._lock:
            http, self._http, self._closed = self._http, None, True
            if http is not None:
                await http.aclose()
            await in_thread(self._release)


async def _problem(response: httpx.Response) -> Error:
    data = await response.aread()
    try:
        return of_problem(json.loads(data), response.status_code)
    except ValueError:
        return of_problem(None, response.status_code)
