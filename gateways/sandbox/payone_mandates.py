"""SEPA mandates: made, blocked, unblocked, revoked, and paid with (reference section 9.3)."""

import json
import re
import uuid
from typing import Any

from gateways.sandbox.payone_bodies import MANDATE
from gateways.sandbox.payone_desk import Answer, Call, Desk
from gateways.sandbox.payone_refusals import invalid_value, missing, not_allowed, unknown
from gateways.sandbox.payone_shapes import Shape
from gateways.sandbox.payone_store import Mandate

# From which states each change is allowed.
BLOCKABLE, UNBLOCKABLE, REVOCABLE = frozenset(("ACTIVE",)), frozenset(("BLOCKED",)), frozenset(("ACTIVE", "BLOCKED"))
IBAN = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}")


def is_iban(plain: str) -> bool:
    """Say whether an account number could be one."""
    if not IBAN.fullmatch(plain):
        return False
    moved = plain[4:] + plain[:4]
    return int("".join(str(int(character, 36)) for character in moved)) % 97 == 1


def hidden(iban: str) -> str:
    """Hide all of an account number but its country and last four."""
    return iban[:2] + "*" * (len(iban) - 6) + iban[-4:]


class Mandates:
    """Keeps the account's mandates."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def create(self, call: Call) -> Answer:
        """Make a mandate; one that is to be signed elsewhere is taken as signed."""
        return Answer(201, {"mandate": shown(self._made(call.read(MANDATE), ""))})

    def get(self, call: Call) -> Answer:
        """Show a mandate."""
        return Answer(200, {"mandate": shown(self._find(call))})

    def block(self, call: Call) -> Answer:
        """Block an active mandate."""
        return self._change(call, BLOCKABLE, "BLOCKED")

    def unblock(self, call: Call) -> Answer:
        """Make a blocked mandate active again."""
        return self._change(call, UNBLOCKABLE, "ACTIVE")

    def revoke(self, call: Call) -> Answer:
        """End a mandate; an unknown one is a bad request here, not a missing one."""
        if self._desk.store.mandates.get(call.path["reference"]) is None:
            raise invalid_value("uniqueMandateReference")
        return self._change(call, REVOCABLE, "REVOKED")

    def for_payment(self, given: dict[str, Any], path: str) -> str:
        """Return the reference of the mandate that a payment is made with, made now if it is new."""
        if given.get("mandate"):
            return self._made(given["mandate"], f"{path}.mandate").reference
        name = "existingUniqueMandateReference"
        if not given.get(name):
            raise missing(f"{path}.{name}")
        found = self._desk.store.mandates.get(given[name])
        if found is None or found.status != "ACTIVE":
            raise invalid_value(f"{path}.{name}")
        if found.recurrence == "UNIQUE":
            found.status = "USED"
            self._desk.store.mandates.save(found)
        return found.reference

    def _find(self, call: Call) -> Mandate:
        found = self._desk.store.mandates.get(call.path["reference"])
        if found is None:
            raise unknown("MANDATE", "uniqueMandateReference")
        return found

    def _change(self, call: Call, allowed: frozenset[str], status: str) -> Answer:
        found = self._find(call)
        if found.status not in allowed:
            raise not_allowed()
        found.status = status
        self._desk.store.mandates.save(found)
        return Answer(200, {"mandate": shown(found)})

    def _made(self, given: dict[str, Any], path: str) -> Mandate:
        customer = given.get("customer", {})
        iban = customer.get("bankAccountIban", {}).get("iban", "").replace(" ", "").upper()
        if not is_iban(iban):
            raise invalid_value(f"{path}.customer.bankAccountIban.iban".removeprefix("."))
        reference = given.get("uniqueMandateReference") or uuid.uuid4().hex
        if self._desk.store.mandates.get(reference):
            raise invalid_value(f"{path}.uniqueMandateReference".removeprefix("."))
        customer["bankAccountIban"] = {"iban": hidden(iban)}
        kept = (given["customerReference"], given["recurrenceType"], "ACTIVE", hidden(iban), given.get("alias", ""))
        mandate = Mandate(reference, *kept, json.dumps(customer))
        self._desk.store.mandates.add(mandate)
        return mandate


def shown(mandate: Mandate) -> Shape:
    """Write a mandate."""
    return {
        "uniqueMandateReference": mandate.reference,
        "status": mandate.status,
        "customer": json.loads(mandate.customer),
        "customerReference": mandate.customer_reference,
        "recurrenceType": mandate.recurrence,
        "alias": mandate.alias or mandate.iban,
    }
