"""The settings of a simulated account can be read and changed while it runs, by the names the reference gives them."""

from collections.abc import Mapping

from gateways.sandbox.ledger import Ledger

Value = bool | int | float | str | list[str]
NOTE = "settings"
LIMITS: Mapping[str, Value] = {"requests_at_once_max": 0, "requests_per_second_max": 0}
"""What every simulator has: how much it takes before it turns requests away; 0 is no limit."""


class BadSettingError(ValueError):
    """A setting was refused; the message is one sentence for a person and nothing was changed."""


class Knobs:
    """Named values with a default each; what was changed survives a restart."""

    def __init__(
        self, ledger: Ledger, defaults: Mapping[str, Value], choices: Mapping[str, frozenset[str]] | None = None
    ) -> None:
        self._ledger = ledger
        self._defaults = {**LIMITS, **defaults}
        self._choices = dict(choices or {})
        changed: dict[str, Value] = ledger.note(NOTE) or {}
        self._values = {**self._defaults, **changed}

    def all(self) -> dict[str, Value]:
        """Return every setting with its present value."""
        return dict(self._values)

    def change(self, wanted: object) -> None:
        """Set several at once, or none if any of them is wrong."""
        if not isinstance(wanted, dict):
            raise BadSettingError("settings are one JSON object of names and values")
        for name, value in wanted.items():
            self._check(name, value)
        self._values.update(wanted)
        self._ledger.remember(NOTE, {k: v for k, v in self._values.items() if v != self._defaults[k]})

    def _check(self, name: str, value: object) -> None:
        if name not in self._defaults:
            raise BadSettingError(f"there is no setting {name!r}")
        default = self._defaults[name]
        if not same_kind(default, value):
            raise BadSettingError(f"{name} must be {described(default)}")
        words = value if isinstance(value, list) else [value]
        unknown = [word for word in words if word not in self._choices.get(name, words)]
        if unknown:
            raise BadSettingError(f"{name} cannot be {unknown[0]!r}")

    def flag(self, name: str) -> bool:
        """Read a setting that is true or false."""
        return bool(self._values[name])

    def count(self, name: str) -> int:
        """Read a setting that is a whole number."""
        value = self._values[name]
        return int(value) if isinstance(value, (int, float)) else 0

    def seconds(self, name: str) -> float:
        """Read a setting that is a span of time."""
        value = self._values[name]
        return float(value) if isinstance(value, (int, float)) else 0.0

    def text(self, name: str) -> str:
        """Read a setting that is a word or an address."""
        return str(self._values[name])

    def words(self, name: str) -> list[str]:
        """Read a setting that is a list of words."""
        value = self._values[name]
        return value if isinstance(value, list) else []


def same_kind(default: Value, value: object) -> bool:
    """Say whether a value could stand where the default stands; a float default takes any number from 0."""
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, list):
        return isinstance(value, list) and all(isinstance(word, str) for word in value)
    if isinstance(default, str):
        return isinstance(value, str)
    numbers = (int, float) if isinstance(default, float) else int
    return isinstance(value, numbers) and value >= 0


def described(default: Value) -> str:
    """Name the kind of value that a setting takes."""
    kinds = {bool: "true or false", list: "a list of words", str: "a text", float: "a number, not below 0"}
    return kinds.get(type(default), "a whole number, not below 0")
