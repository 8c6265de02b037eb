"""What the environment may say; a missing or malformed setting is one clear line that names it."""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, AwareDatetime, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from billing.mail import CONNECTIONS_MAX, MailError, SmtpServer
from billing.vault import KEY_CHARS_MIN

PORT_MAX: Final = 65535


class SettingsError(ValueError):
    """A setting that is missing or malformed; the message names it and never shows a secret."""


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"there is no time zone {name!r}; write one like Europe/Vienna") from None
    return name


def _web_address(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ValueError("it is not a web address; write it like https://pay.example.com")
    return url.rstrip("/")


def _mail_server(url: str) -> str:
    try:
        SmtpServer.parse(url)
    except MailError as error:
        raise ValueError(str(error).removeprefix("TURNUS_SMTP_URL is malformed: ")) from None
    return url


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if text and not (host and port.isdecimal() and int(port) <= PORT_MAX):
        raise ValueError("it is not an address to listen at; write it like 127.0.0.1:9464")
    return text


class Settings(BaseSettings):
    """Everything an operator can set, by environment or a `.env` file, each name with the prefix `TURNUS_`."""

    model_config = SettingsConfigDict(env_prefix="TURNUS_", env_file=".env", extra="ignore", hide_input_in_errors=True)

    database_url: str = Field(default="sqlite+aiosqlite:///turnus.db", repr=False)
    secret_key: Annotated[str, Field(min_length=KEY_CHARS_MIN, repr=False)]
    secret_key_old: Annotated[str, Field(repr=False)] = ""
    smtp_url: Annotated[str, AfterValidator(_mail_server), Field(repr=False)] = "smtp://127.0.0.1:25"
    smtp_connections_max: Annotated[int, Field(ge=1, le=100)] = CONNECTIONS_MAX
    public_url: Annotated[str, AfterValidator(_web_address)] = "http://127.0.0.1:8000"
    timezone: Annotated[str, AfterValidator(_zone)] = "Europe/Vienna"
    run_hour: Annotated[int, Field(ge=0, le=23)] = 2
    dun_hour: Annotated[int, Field(ge=0, le=23)] = 9
    lease_s: Annotated[int, Field(ge=5, le=3600)] = 120
    in_flight_max: Annotated[int, Field(ge=1, le=5000)] = 250
    leave_s: Annotated[int, Field(ge=1, le=3600)] = 75
    webhooks_to_private_addresses: bool = False
    gateways_at_private_addresses: bool = False
    restored: bool | AwareDatetime = False
    dkim_domain: str = ""
    dkim_selector: str = ""
    dkim_key: str = Field(default="", repr=False)
    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$")] = "warning"
    log_format: Annotated[str, Field(pattern="^(json|text|)$")] = ""
    metrics: Annotated[str, AfterValidator(_address)] = ""

    def secrets(self) -> list[str]:
        """Return everything in here that nobody may read."""
        passwords = [unquote(urlsplit(url).password or "") for url in (self.database_url, self.smtp_url)]
        return [self.secret_key, self.secret_key_old, self.dkim_key, *passwords]

    @property
    def metrics_address(self) -> tuple[str, int] | None:
        """Where figures are served, if anywhere."""
        host, _, port = self.metrics.rpartition(":")
        return (host.strip("[]"), int(port)) if port else None


def read_settings() -> Settings:
    """Read the environment, or raise `SettingsError` with one line naming the first setting that is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = f"TURNUS_{str(first['loc'][0]).upper()}"
        raise SettingsError(f"{name}: {_plain(first['type'], first['msg'])}") from None


def _plain(kind: str, message: str) -> str:
    if kind in ("missing", "string_too_short"):
        is_short = "is too short" if kind == "string_too_short" else "is not set"
        return f"{is_short}; it takes any text of at least {KEY_CHARS_MIN} characters"
    return message.removeprefix("Value error, ")
