"""Send queued messages."""

from __future__ import annotations

from collections import Counter

from billing.services.announcing import Sender, announce
from billing.services.context import Context
from billing.services.outbox import Postman, deliver


async def deliver_all(ctx: Context, postman: Postman) -> Counter[str]:
    """Deliver every mail that is due, and return how many came to which state."""
    return Counter({str(state): count for state, count in (await deliver(ctx, postman)).items()})


async def announce_all(ctx: Context, sender: Sender) -> Counter[str]:
    """Tell every endpoint what is due, and return how many deliveries came to which state."""
    return Counter({str(state): count for state, count in (await announce(ctx, sender)).items()})
