"""How a use case says no: nothing was changed, and the message says why in words for whoever asked."""

from __future__ import annotations


class MissingError(LookupError):
    """What was asked for is not there, or is another merchant's, which is the same to whoever asks."""


class ConflictError(ValueError):
    """What was asked for cannot be as things stand; it may be later."""


class UnfitError(ValueError):
    """A value that cannot be; `field` names it as it was given."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
