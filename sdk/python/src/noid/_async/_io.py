"""What the asynchronous client does in another way than the synchronous one: ``_sync/_io.py`` is the other half."""

from __future__ import annotations

from typing import Any, AsyncContextManager, Awaitable, Callable, Generator, Generic, Optional, TypeVar

import anyio
import anyio.to_thread

T = TypeVar("T", bound="AsyncContextManager[Any]")
R = TypeVar("R")

AsyncLock = anyio.Lock


async def in_thread(f: Callable[[], R]) -> R:
    """Calls f, which blocks."""
    return await anyio.to_thread.run_sync(f)


class Opening(Generic[T]):
    """Something under way that ``await`` gives, and that ``async with`` gives and ends."""

    def __init__(self, work: Awaitable[T]) -> None:
        self._work = work
        self._made: Optional[T] = None

    def __await__(self) -> Generator[Any, None, T]:
        return self._work.__await__()

    async def __aenter__(self) -> T:
        self._made = await self._work
        await self._made.__aenter__()
        return self._made

    async def __aexit__(self, *exc: Any) -> None:
        if self._made is not None:
            await self._made.__aexit__(*exc)


def opening(work: Awaitable[T]) -> "Opening[T]":
    """What is under way, for ``await`` or ``async with``."""
    return Opening(work)
