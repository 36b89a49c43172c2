"""Small pieces of English."""

from __future__ import annotations

from collections.abc import Sequence


def listed(items: Sequence[str], limit: int = 5) -> str:
    """``a, b and c``; beyond the limit ``a, b and 3 more``."""
    if len(items) > limit:
        return f"{', '.join(items[:limit])} and {len(items) - limit} more"
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def counted(count: int, noun: str, plural: str = "") -> str:
    """``1 branch``, ``3 branches``."""
    if count == 1:
        return f"1 {noun}"
    return f"{count} {plural or _plural(noun)}"


def at_lines(lines: Sequence[int], limit: int = 4) -> str:
    """``line 3``, ``lines 3, 5 and 9``."""
    word = "line" if len(lines) == 1 else "lines"
    return f"{word} {listed([str(line) for line in lines], limit)}"


def quoted(names: Sequence[str], limit: int = 5) -> str:
    """Names in back ticks, as a list."""
    return listed([f"`{name}`" for name in names], limit)


def capitalised(text: str) -> str:
    """With a capital first letter; the rest stays as it is."""
    return text[:1].upper() + text[1:]


def sentence(text: str) -> str:
    """With a capital first letter and a full stop."""
    text = text.strip()
    return capitalised(text) + ("" if text.endswith((".", "!", "?", "…", ":")) else ".")


def _plural(noun: str) -> str:
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "x", "ch", "sh")) else f"{noun}s"
