"""The logs of a process: one line for each thing that happened, for people or for programs, and no secret in any.

Everything that is logged passes here, ours and what libraries say, and is cleaned of whatever opens or pays something.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Final

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from gateways.transport import MASK, Redaction

LEARNT_CHARS_MIN: Final = 6
"""A shorter secret is not looked for by its value, since it would hide harmless words everywhere."""

_NAME: Final = r"[\w-]*(?:passwo?r?d|secret|token|api[_-]?key|credential|signature|sealed)[\w-]*|pan|iban|cvc|cvv|otp"
_NAMED: Final = re.compile(
    rf"""(\b(?:{_NAME})\\*["']?\s*[:=]\s*\\*)(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s,;&)}}\]"']+)""", re.IGNORECASE
)
_HEADERS: Final = re.compile(
    r"""(\b(?:set-)?cookie|\b[\w-]*authorization)(["']?\s*[:=]\s*["']?)[^\r\n"'}]+""", re.IGNORECASE
)
_SECRET_NAME: Final = re.compile(rf"(?:{_NAME}|(?:set-)?cookie|[\w-]*authorization)", re.IGNORECASE)
_SHAPES: Final = (
    (re.compile(r"(Failing row contains )\(.*\)", re.DOTALL), rf"\1{MASK}"),
    (re.compile(r"(/p/)[\w-]+"), rf"\1{MASK}"),
    (re.compile(r"(/n/\d+/[^/\s]+/)[\w-]+"), rf"\1{MASK}"),
    (re.compile(r"(?<=/)(?=[\w-]*[a-z])(?=[\w-]*[A-Z])[\w-]{20,}"), MASK),
    (re.compile(r"\b(tk_[0-9a-f]{12}_)[\w-]+"), rf"\1{MASK}"),
    (re.compile(r"\b(whsec_)[\w+/=-]+"), rf"\1{MASK}"),
    (re.compile(r"\b([0-9a-f]{8}\.)[A-Za-z0-9+/]{36,}=*"), rf"\1{MASK}"),
    (re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE), rf"\1 {MASK}"),
    (re.compile(r"(://[^/\s:@]*:)[^@\s]+@"), rf"\1{MASK}@"),
)


class Redactor:
    """Hides whatever opens or pays something: by its value where that is known, by its name, or by its shape."""

    def __init__(self) -> None:
        self._values: set[str] = set()
        self._by_value = Redaction()

    def learn(self, secrets: Iterable[str]) -> None:
        """Hide these from now on, however they are written."""
        new = {secret for secret in secrets if len(secret) >= LEARNT_CHARS_MIN} - self._values
        if new:
            self._values |= new
            self._by_value = Redaction(secrets=tuple(self._values))

    def learn_credentials(self, credentials: Mapping[str, str]) -> None:
        """Hide those of an account's settings that are secret by their name."""
        self.learn(value for name, value in credentials.items() if any(map(is_secret, re.split(r"\W", name))))

    def clean(self, text: str) -> str:
        """Return the text without any secret."""
        text = _NAMED.sub(rf"\g<1>{MASK}", _HEADERS.sub(rf"\g<1>\g<2>{MASK}", text))
        for shape, kept in _SHAPES:
            text = shape.sub(kept, text)
        return self._by_value.clean(text)

    def __call__(self, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
        """Clean one event."""
        return {name: MASK if is_secret(name) else self._cleaned(value) for name, value in event.items()}

    def _cleaned(self, value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Mapping):
            return {str(name): MASK if is_secret(str(name)) else self._cleaned(each) for name, each in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._cleaned(each) for each in value]
        return self.clean(str(value))


def is_secret(name: str) -> bool:
    """Answer whether what bears this name is shown to nobody."""
    return _SECRET_NAME.fullmatch(name) is not None


class _Line:
    """Writes lines to whatever is standard error at the time."""

    def __init__(self, name: str = "") -> None:
        self.name = name

    def msg(self, line: str) -> None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    debug = info = warning = error = critical = msg


class _Foreign(logging.Handler):
    """Lets what libraries log go the same way as what we do."""

    def emit(self, record: logging.LogRecord) -> None:
        level = min(record.levelno // 10 * 10, logging.CRITICAL)
        structlog.get_logger(record.name).log(level, record.getMessage(), exc_info=record.exc_info)


def _named(logger: _Line, _: str, event: EventDict) -> EventDict:
    return {"logger": logger.name, **event}


def open_logbook(level: str, style: str = "") -> Redactor:
    """Log from the level on, as `json` or `text`; by itself as text on a terminal only. Return who hides the secrets.

    Libraries are heard from warnings on: below that some tell what they were given.
    """
    redactor = Redactor()
    text = style == "text" or (not style and sys.stderr.isatty())
    before: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        # Without the values of variables, which a traceback for people would show.
        structlog.processors.format_exc_info,
        redactor,
    ]
    lines = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(
        processors=[_named, *before, lines if text else structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=_Line,
    )
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, _Foreign)] + [_Foreign()]
    root.setLevel(max(getattr(logging, level.upper()), logging.WARNING))
    return redactor
