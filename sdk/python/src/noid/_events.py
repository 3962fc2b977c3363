"""Server-sent events, as noid serve sends them: each has a document of JSON in one line."""

from __future__ import annotations

import json
from typing import Any, List, Tuple


class EventParser:
    """Makes events of bytes as they come."""

    def __init__(self) -> None:
        self._rest = b""
        self._name = ""
        self._data = b""

    def feed(self, data: bytes) -> List[Tuple[str, Any]]:
        """The events that are whole with data."""
        events = []
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"event: "):
                self._name = line[7:].decode()
            elif line.startswith(b"data: "):
                self._data = line[6:]
            elif not line and self._name:
                events.append((self._name, json.loads(self._data)))
                self._name, self._data = "", b""
        return events
