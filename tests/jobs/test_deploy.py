"""The units and the image that the manual offers say what they promise: no rights, no root, and time to leave."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "docs" / "deploy"
SERVICES = sorted(DEPLOY.glob("*.service"))
IMAGE = (DEPLOY / "Containerfile").read_text("utf-8")
HARDENED = {
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "CapabilityBoundingSet": "",
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    "SystemCallArchitectures": "native",
    "User": "turnus",
    "UMask": "0077",
}


def read(path: Path) -> configparser.ConfigParser:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(path, "utf-8")
    return unit


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_has_nothing_to_say_against_the_units(tmp_path: Path) -> None:
    """The command is replaced by one that is there: that it is not installed is all that would be complained of."""
    for path in [*SERVICES, *DEPLOY.glob("*.timer")]:
        (tmp_path / path.name).write_text(path.read_text("utf-8").replace("/opt/turnus/bin/turnus", sys.executable))
    command = ["systemd-analyze", "verify", "--man=no", *map(str, tmp_path.iterdir())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_every_service_runs_without_rights(path: Path) -> None:
    service = read(path)["Service"]
    assert {name: service[name] for name in HARDENED} == HARDENED
    assert service["ExecStart"].startswith("/opt/turnus/bin/turnus ")


def test_a_process_has_the_time_to_leave_that_the_slowest_gateway_takes() -> None:
    service = read(DEPLOY / "turnus.service")["Service"]
    leave_s = Settings.model_fields["leave_s"].default
    assert leave_s < int(service["TimeoutStopSec"])
    assert f"--stop-timeout {service['TimeoutStopSec']}" in IMAGE
    slowest_s = max(map(_default_timeout_s, (ROOT / "gateways").glob("*_settings.py")))
    assert slowest_s < leave_s < Settings.model_fields["lease_s"].default


def _default_timeout_s(path: Path) -> float:
    [found] = re.findall(r'"timeout_s": \(?"(\d+)"', path.read_text("utf-8"))
    return float(found)


def test_the_image_runs_as_nobody_in_particular_and_is_asked_whether_it_lives() -> None:
    assert re.findall(r"^FROM .*?python:(\S+)", IMAGE, re.MULTILINE) == ["3.13-slim", "3.13-slim"]
    assert re.search(r"^USER 10001:10001$", IMAGE, re.MULTILINE)
    assert "/healthz" in IMAGE
    assert "--require-hashes" in IMAGE
    assert "--no-index" in IMAGE
    assert "STOPSIGNAL SIGTERM" in IMAGE


def test_the_example_of_an_environment_names_settings_that_there_are() -> None:
    names = re.findall(r"^TURNUS_(\w+)=", (DEPLOY / "turnus.env").read_text("utf-8"), re.MULTILINE)
    assert {name.lower() for name in names} <= set(Settings.model_fields)
    assert "TURNUS_SECRET_KEY=\n" in (DEPLOY / "turnus.env").read_text("utf-8")


def test_the_manual_names_every_setting() -> None:
    manual = (ROOT / "docs" / "operating.md").read_text("utf-8")
    written = set(re.findall(r"TURNUS_([A-Z_]+)", manual))
    short = {f"DKIM{end}" for end in ("_DOMAIN", "_SELECTOR", "_KEY")}
    assert {name.upper() for name in Settings.model_fields} - short <= written
