"""Misfortune on demand: rules that say which call goes wrong, how, and how often.

A rule is ``{"match": {...}, "fault": ..., "times": N}``. Match keys are
``operation``, ``reference``, ``profile``, ``amount_minor`` and ``currency``, and
where a wire has one ``merchant_reference``; an absent one fits anything, and a
text that ends in ``*`` fits by its beginning.
Without ``times`` a rule holds for ever. Faults come in kinds, and of each kind
the first rule that fits a call acts on it:

============= ===================================================================
kind          faults
============= ===================================================================
line          drop_before_booking, drop_after_booking, http_500 (before booking),
              http_429 and http_503 (too busy, before booking; with ``ms``, what
              they ask to wait),
              garbage (after booking), fault (SOAP Client fault, before booking;
              only where the wire is SOAP), unauthorized (before booking)
delay         delay_ms: waits first, then goes on
answer_delay  delay_answer_ms: books, tells, waits, then answers
outcome       decline:CODE, suspend
notification  no_notification, duplicate_notification, late_notification
order         reorder_answer
extra         extra_elements
============= ===================================================================

A rule that names no operation leaves alone what it was not meant for: outcomes
and drops then act only on calls that book. ``times`` counts calls, so one
``no_notification`` silences every notification that one call causes. Tries on
hosted pages (operation ``PaymentPage``), moves by a tester (``Move``) and by the
provider itself (``Provider``) know notification faults, and pages outcomes too;
all other kinds act on calls of the merchant's server alone.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from gateways.sandbox.ledger import Ledger

NOTE = "faults"
KINDS = {
    "drop_before_booking": "line",
    "drop_after_booking": "line",
    "http_500": "line",
    "http_429": "line",
    "http_503": "line",
    "garbage": "line",
    "fault": "line",
    "unauthorized": "line",
    "delay_ms": "delay",
    "delay_answer_ms": "answer_delay",
    "decline": "outcome",
    "suspend": "outcome",
    "no_notification": "notification",
    "duplicate_notification": "notification",
    "late_notification": "notification",
    "reorder_answer": "order",
    "extra_elements": "extra",
}
BOOKING_ONLY = {"drop_before_booking", "drop_after_booking", "decline", "suspend"}
MATCH_KEYS = ("operation", "reference", "profile", "amount_minor", "currency")
RULE_KEYS = {"match", "fault", "times", "ms", "text"}
DEFAULT_LATE_MS = 2000


class BadRuleError(ValueError):
    """A rule was refused; the message is one sentence for a person and nothing was changed."""


@dataclass(slots=True, frozen=True)
class Words:
    """What the rules of one wire may name."""

    operations: frozenset[str]
    match_keys: tuple[str, ...] = MATCH_KEYS
    absent_faults: frozenset[str] = frozenset()


@dataclass(slots=True)
class Facts:
    """What is known of a call when its misfortunes are looked up."""

    operation: str
    reference: str = ""
    profile: str = ""
    amount_minor: int | None = None
    currency: str = ""
    books: bool = False
    merchant_reference: str = ""

    def value(self, key: str) -> str:
        """Return one fact as text; an amount that the call does not name is empty."""
        found = getattr(self, key)
        return "" if found is None else str(found)


@dataclass(slots=True)
class Rule:
    """One misfortune, checked and ready."""

    match: dict[str, str]
    fault: str
    detail: str = ""
    ms: int = 0
    text: str = ""
    times: int | None = None

    def fits(self, facts: Facts) -> bool:
        """Say whether this rule is meant for the call."""
        if self.fault in BOOKING_ONLY and not facts.books and "operation" not in self.match:
            return False
        return all(is_like(facts.value(key), wanted) for key, wanted in self.match.items())

    def shown(self) -> dict[str, object]:
        """Give the rule in the form in which it was sent."""
        name = f"{self.fault}:{self.detail}" if self.detail else self.fault
        shown: dict[str, object] = {"match": dict(self.match), "fault": name}
        extras = {"ms": self.ms or None, "text": self.text or None, "times": self.times}
        return shown | {key: value for key, value in extras.items() if value is not None}


def is_like(value: str, wanted: str) -> bool:
    """Compare a value with a wanted one, which may end in a star."""
    return value.startswith(wanted[:-1]) if wanted.endswith("*") else value == wanted


class Faults:
    """The rules in force, in order; they and what is left of them survive a restart."""

    def __init__(self, ledger: Ledger, words: Words) -> None:
        self._ledger = ledger
        self._words = words
        self._rules = [Rule(**kept) for kept in ledger.note(NOTE) or []]

    def replace(self, wanted: object) -> None:
        """Put these rules in the place of all others; a malformed one leaves everything as it was."""
        if not isinstance(wanted, list):
            raise BadRuleError("rules are one JSON list")
        self._rules = [read_rule(number, rule, self._words) for number, rule in enumerate(wanted, 1)]
        self._keep()

    def left(self) -> list[dict[str, object]]:
        """Return the rules that can still act, with the times they have left."""
        return [rule.shown() for rule in self._rules]

    def take(self, kind: str, facts: Facts) -> Rule | None:
        """Return the first rule of this kind that fits, and count it as used."""
        for rule in self._rules:
            if KINDS[rule.fault] == kind and rule.fits(facts):
                self._use(rule)
                return rule
        return None

    def _use(self, rule: Rule) -> None:
        if rule.times is None:
            return
        rule.times -= 1
        if not rule.times:
            self._rules.remove(rule)
        self._keep()

    def _keep(self) -> None:
        self._ledger.remember(NOTE, [asdict(rule) for rule in self._rules])


@dataclass(slots=True)
class Luck:
    """The misfortunes of one call are each looked up once, when they are first asked for."""

    faults: Faults
    facts: Facts
    _drawn: dict[str, Rule | None] = field(default_factory=dict)

    def draw(self, kind: str) -> Rule | None:
        """Return the rule of this kind that acts on the call, if any."""
        if kind not in self._drawn:
            self._drawn[kind] = self.faults.take(kind, self.facts)
        return self._drawn[kind]

    def fault(self, kind: str) -> str:
        """Return the name of the fault of this kind that acts on the call, or an empty text."""
        rule = self.draw(kind)
        return rule.fault if rule else ""


async def wait(luck: Luck, kind: str) -> None:
    """Wait as long as a rule says."""
    rule = luck.draw(kind)
    if rule:
        await asyncio.sleep(rule.ms / 1000)


def read_rule(number: int, sent: object, words: Words) -> Rule:
    """Read one rule as it was sent, or say in one sentence what is wrong with it."""
    if not isinstance(sent, dict):
        raise BadRuleError(f"rule {number} is not a JSON object")
    strange = sorted(str(key) for key in sent.keys() - RULE_KEYS)
    if strange:
        raise BadRuleError(f"rule {number} has the unknown key {strange[0]!r}")
    fault, detail, ms = read_fault(number, sent, words)
    match = read_match(number, sent.get("match", {}), words)
    text = sent.get("text", "")
    if not isinstance(text, str):
        raise BadRuleError(f"rule {number}: text must be a text")
    return Rule(match, fault, detail, ms, text, read_times(number, sent))


def read_fault(number: int, sent: Mapping[str, Any], words: Words) -> tuple[str, str, int]:
    """Read what goes wrong: its name, the code of a decline, the milliseconds of a delay."""
    name, colon, detail = str(sent.get("fault", "")).partition(":")
    if name not in KINDS or name in words.absent_faults:
        raise BadRuleError(f"rule {number} has the unknown fault {name!r}")
    if name == "decline":
        if not detail.replace("_", "").isalnum():
            raise BadRuleError(f"rule {number}: decline needs a code, as in decline:DECLINED")
        return name, detail, 0
    if colon and KINDS[name] not in {"delay", "answer_delay"}:
        raise BadRuleError(f"rule {number}: {name} takes nothing after a colon")
    return name, "", read_ms(number, name, detail, sent)


def read_ms(number: int, name: str, detail: str, sent: Mapping[str, Any]) -> int:
    """Read the milliseconds of a delay or of a late notification."""
    given = int(detail) if detail.isdecimal() and len(detail) < 10 else detail or sent.get("ms")
    if given is None and name == "late_notification":
        return DEFAULT_LATE_MS
    if given is None and KINDS[name] not in {"delay", "answer_delay"}:
        return 0
    if not isinstance(given, int) or isinstance(given, bool) or given < 0:
        raise BadRuleError(f'rule {number}: {name} needs "ms", a whole number not below 0')
    return given


def read_match(number: int, sent: object, words: Words) -> dict[str, str]:
    """Read whom the rule is meant for."""
    if not isinstance(sent, dict):
        raise BadRuleError(f"rule {number}: match must be a JSON object")
    for key, value in sent.items():
        if key not in words.match_keys:
            raise BadRuleError(f"rule {number}: match has the unknown key {key!r}")
        if not isinstance(value, str if key != "amount_minor" else (str, int)) or isinstance(value, bool):
            raise BadRuleError(f"rule {number}: {key} cannot be {value!r}")
    match = {key: str(value) for key, value in sent.items()}
    wanted = match.get("operation", "*")
    if not any(is_like(operation, wanted) for operation in words.operations):
        raise BadRuleError(f"rule {number}: there is no operation {wanted!r}")
    return match


def read_times(number: int, sent: Mapping[str, Any]) -> int | None:
    """Read how often the rule acts; absent means for ever."""
    times = sent.get("times")
    if times is None:
        return None
    if not isinstance(times, int) or isinstance(times, bool) or times < 1:
        raise BadRuleError(f"rule {number}: times must be a whole number from 1")
    return times
