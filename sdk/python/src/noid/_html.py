"""Tables for notebooks. Everything in them is escaped: much of it is the guest's text."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from html import escape
from typing import Any, Iterable, Sequence

#: Rows of a table at most: a notebook keeps its outputs.
_ROWS = 200


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table with a line for each row."""
    rows = list(rows)
    lines = ["<tr>" + "".join(f"<th>{escape(h)}</th>" for h in head) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{_cell(c)}</td>" for c in row) + "</tr>" for row in rows[:_ROWS]]
    more = f"<p>and {len(rows) - _ROWS} more</p>" if len(rows) > _ROWS else ""
    return "<table>" + "".join(lines) + "</table>" + more


def _cell(value: Any) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, datetime):
        value = value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return escape(str(value))


def records(items: Iterable[Any], fields: Sequence[str]) -> str:
    """A table of objects, with a column for each of fields."""
    return table([f.replace("_", " ") for f in fields], ([getattr(i, f) for f in fields] for i in items))


def record(item: Any) -> str:
    """A table of one object, with a line for each of its fields that says something."""
    values = ((f.name, getattr(item, f.name)) for f in dataclasses.fields(item))
    return table(["", ""], [(name.replace("_", " "), value) for name, value in values if value not in ("", None, 0)])


def diff(d: Any) -> str:
    """A diff: its files, processes and packages, and its patch."""
    parts = []
    if d.changes or not (d.processes or d.packages):
        rows = [(c.kind, f"{c.was} → {c.path}" if c.was else c.path, ", ".join(c.what), _size(c.before), _size(c.after)) for c in d.changes]
        parts.append(table(["change", "path", "what", f"bytes in {d.from_}", f"in {d.to}"], rows))
    if d.total > len(d.changes):
        parts.append(f"<p>of {d.total} files that differ</p>")
    if d.processes:
        parts.append(table(["process", "before", "after"], [((p.after or p.before).pid, _command(p.before), _command(p.after)) for p in d.processes]))
    if d.packages:
        parts.append(records(d.packages, ("manager", "name", "before", "after")))
    if d.patch:
        parts.append(f"<pre>{escape(d.patch)}</pre>")
    return "".join(parts)


def _size(file: Any) -> Any:
    return "" if file is None else file.size


def _command(process: Any) -> str:
    return "" if process is None else process.command


def result(r: Any) -> str:
    """How a command ended."""
    text = f"<pre>{escape(r.stdout)}</pre>" if r.stdout_bytes else ""
    text += f'<pre style="color: #b00020">{escape(r.stderr)}</pre>' if r.stderr_bytes else ""
    end = r.error or (f"{r.signal} " if r.signal else "") + f"exit code {r.exit_code}"
    return text if r.ok and text else text + f"<p>{escape(end)}</p>"
