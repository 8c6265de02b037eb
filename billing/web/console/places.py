"""Where things that have no name but their id have their pages."""

from __future__ import annotations

from typing import Final

_SECTIONS: Final = {
    "att": "/doubts/",
    "op": "/doubts/",
    "task": "/tasks/",
    "run": "/runs/",
    "not": "/notifications/",
    "msg": "/mails/",
    "hook": "/webhooks/",
    "evt": "/webhooks/events/",
}


def place_of(name: str) -> str:
    """Return the path of the page of a thing such as `op_3`; nothing for what is found by other words."""
    kind = name.partition("_")[0]
    return _SECTIONS[kind] + name if kind in _SECTIONS else ""
