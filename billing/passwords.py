"""Passwords as they are kept: hashed with Argon2, slowly for whoever tries them out, and never in clear."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

CHARS_MIN: Final = 12
CHARS_MAX: Final = 200
_AT_ONCE: Final = 2
"""How many are hashed at the same time; each takes 64 MiB, and strangers can ask for it."""


def weakness_of(password: str, *about: str) -> str:
    """Return what is wrong with a new password, or nothing; `about` are words that everybody could guess."""
    if len(password) < CHARS_MIN:
        return f"Write at least {CHARS_MIN} characters; a short sentence is easy to keep in mind."
    if len(password) > CHARS_MAX:
        return f"Write at most {CHARS_MAX} characters."
    if len(set(password)) < 5:
        return "Use more than a few different characters."
    if any(word and password.casefold() == word.casefold() for word in about):
        return "Write something that nobody knows of you."
    return ""


@dataclass(frozen=True, slots=True)
class Passwords:
    """Hashes and checks passwords in threads of their own, a few at a time, so that the loop goes on meanwhile."""

    hasher: PasswordHasher = field(default_factory=PasswordHasher)
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    async def hash(self, password: str) -> str:
        """Return what is stored of a password."""
        async with self._turns:
            return await asyncio.to_thread(self.hasher.hash, password)

    async def is_right(self, stored: str, password: str) -> bool:
        """Answer whether it is the password; where none is stored, as slowly as where one is, and no."""
        async with self._turns:
            return await asyncio.to_thread(self._verify, stored, password)

    def is_outdated(self, stored: str) -> bool:
        """Answer whether it was hashed with less effort than a new one would be."""
        return self.hasher.check_needs_rehash(stored)

    def _verify(self, stored: str, password: str) -> bool:
        if not stored:
            self.hasher.hash(password)
            return False
        try:
            return self.hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False
