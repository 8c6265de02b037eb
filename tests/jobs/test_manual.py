"""The tests that the manuals name exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def test_every_test_that_a_manual_names_exists() -> None:
    named = {each for manual in (ROOT / "docs").rglob("*.md") for each in _NAMED.findall(manual.read_text("utf-8"))}
    assert len(named) > 20
    for path, name in named:
        text = (ROOT / path).read_text("utf-8")
        assert not name or re.search(rf"^(?:async )?def {name}\(", text, re.MULTILINE), f"{path}::{name}"
