"""What is counted while the engine works; by itself nobody counts."""

from __future__ import annotations


class Meters:
    """Is told what happened, each thing once it has; this one keeps nothing of it."""

    def attempt(self, account_id: int, state: str) -> None:
        """An attempt at a gateway account came to a state."""

    def notification(self, verdict: str) -> None:
        """A notification was received, or what became of it was decided."""

    def mail(self, state: str) -> None:
        """A mail that was tried came to a state."""

    def run(self, state: str) -> None:
        """A process ended its work on a run that is now in a state."""
