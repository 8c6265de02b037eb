"""Results that come by the browser's way or by URLNotify: decrypted, proven by their MAC, and told by their code.

Which address was called says nothing: the result of a failure can be copied to the address of success.
"""

from __future__ import annotations

from billing.gateway import Approved, Declined, ForgeryError, Notice, RawMessage, Refused
from gateways.computop_answers import failure
from gateways.computop_cards import stored
from gateways.computop_wire import CHARSET, Envelope, Reply, UnreadableError


def read(message: RawMessage, envelope: Envelope) -> Notice:
    """Return a result's news, or raise `ForgeryError` where nothing proves that it is Computop's and ours."""
    reply = _opened(message, envelope)
    key, gateway_id = reply.text("TransID"), reply.text("PayID")
    if message.proven_key not in ("", key):
        raise ForgeryError("the result is about another order than the address it came to")
    identity = "/".join((gateway_id, *(reply.text(name) for name in ("XID", "Status", "Code"))))
    return Notice(identity, key, gateway_id, _outcome(reply, envelope))


def _opened(message: RawMessage, envelope: Envelope) -> Reply:
    if message.method not in ("GET", "POST"):
        raise ForgeryError("Computop reports by GET and POST only")
    text = message.query if message.method == "GET" else message.body.decode(CHARSET)
    try:
        reply = envelope.unseal(text)
    except UnreadableError as error:
        raise ForgeryError(f"a result that cannot be opened: {error}") from None
    if not reply.text("mid") or not reply.text("TransID") or not envelope.proves(reply):
        raise ForgeryError("the MAC does not fit the result")
    return reply


def _outcome(reply: Reply, envelope: Envelope) -> Declined | Refused | Approved | None:
    """Return a no that is plain, or a payment whose amount we can prove; all else is only a reason to ask."""
    try:
        no = failure(reply)
    except UnreadableError:
        return None
    if no is None:
        return stored(envelope, reply)
    return no if isinstance(no, Declined | Refused) else None
