"""What the synchronous client does in another way than the asynchronous one: ``_async/_io.py`` is the other half."""

from __future__ import annotations

import threading
from typing import Callable, TypeVar

R = TypeVar("R")

Lock = threading.Lock


def in_thread(f: Callable[[], R]) -> R:
    """Calls f, which blocks."""
    return f()


def opening(made: R) -> R:
    """What was made."""
    return made
