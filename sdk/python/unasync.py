"""Makes src/noid/_sync of src/noid/_async. With --check, says whether that is the same as what is there."""

import re
import sys
from pathlib import Path

SOURCE = Path(__file__).parent / "src" / "noid"
HAND_WRITTEN = {"_io.py"}
HEAD = "# Made by unasync.py of _async: edit that.\n"
RULES = [
    (r"\basynccontextmanager\b", "contextmanager"),
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"Opening\[(\w+)\]", r"\1"),
    (r"import Opening, opening", "import opening"),
    (r"\b__a(enter|exit|iter|next)__\b", r"__\1__"),
    (r"\baclose\(", "close("),
    (r"\ba(iter_bytes|read)\b", r"\1"),
    (r"\bStopAsyncIteration\b", "StopIteration"),
    (r"\bAsync([A-Z])", r"\1"),
    (r"``await`` or ", ""),
]


def synchronous(text: str) -> str:
    for pattern, replacement in RULES:
        text = re.sub(pattern, replacement, text)
    return HEAD + text


def main() -> int:
    stale = []
    for source in sorted((SOURCE / "_async").glob("*.py")):
        made = SOURCE / "_sync" / source.name
        if source.name in HAND_WRITTEN:
            continue
        text = synchronous(source.read_text())
        if not made.exists() or made.read_text() != text:
            stale.append(made.name)
            if "--check" not in sys.argv:
                made.write_text(text)
    if stale and "--check" in sys.argv:
        print("not what unasync.py makes:", *stale)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
