"""Ask whether anything that requirements.lock names is known to be vulnerable (`make audit`).

The advisories are those of osv.dev, asked once for all packages. Beside them a package is asked about that is known to
be vulnerable: a service that does not know that one knows nothing, and its silence says nothing about ours. An audit
that cannot be carried out is no failure and no success, so it is said loudly and ends with 0.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import httpx

ROOT: Final = Path(__file__).parents[1]
SERVICE: Final = "https://api.osv.dev/v1/querybatch"
TIMEOUT_S: Final = 30
KNOWN: Final = ("jinja2", "2.4.1")
_PINNED: Final = re.compile(r"^([a-z0-9][a-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE | re.IGNORECASE)

Package = tuple[str, str]


class NotCarriedOutError(Exception):
    """The advisories could not be asked for; the message says why."""


def main() -> int:
    """Audit the lock and return the exit status."""
    packages = locked((ROOT / "requirements.lock").read_text("utf-8"))
    ignored = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["turnus"]["audit"]["ignored"]
    try:
        with httpx.Client(timeout=TIMEOUT_S) as http:
            found = vulnerable(ask(http, packages), ignored)
    except NotCarriedOutError as error:
        print(f"make audit: WARNING: NOT CARRIED OUT: {error}", file=sys.stderr)  # noqa: T201 - what it is for
        return 0
    for (name, version), ids in found.items():
        print(f"make audit: {name} {version}: {', '.join(ids)}", file=sys.stderr)  # noqa: T201 - what it is for
    if not found:
        print(f"make audit: nothing is known against {len(packages)} packages.")  # noqa: T201 - what it is for
    return int(bool(found))


def locked(text: str) -> list[Package]:
    """Return every package that a lock names, with its version."""
    return sorted({(name.lower(), version) for name, version in _PINNED.findall(text)})


def ask(http: httpx.Client, packages: Sequence[Package]) -> dict[Package, list[str]]:
    """Return the advisories about each package; raise `NotCarriedOutError` where they cannot be had."""
    asked = [KNOWN, *packages]
    queries = [{"package": {"name": name, "ecosystem": "PyPI"}, "version": version} for name, version in asked]
    try:
        answer = http.post(SERVICE, json={"queries": queries}).raise_for_status().json()["results"]
        told = {each: _ids(result) for each, result in zip(asked, answer, strict=True)}
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise NotCarriedOutError(f"{SERVICE} gave no answer ({type(error).__name__}: {error})") from None
    if not told[KNOWN]:
        raise NotCarriedOutError(f"{SERVICE} knows nothing against {' '.join(KNOWN)}, so it knows nothing")
    return {each: ids for each, ids in told.items() if each in packages}


def vulnerable(told: Mapping[Package, list[str]], ignored: Mapping[str, str]) -> dict[Package, list[str]]:
    """Return what counts: advisories that are not set aside by name, with a reason."""
    counting = {package: [each for each in ids if each not in ignored] for package, ids in told.items()}
    return {package: ids for package, ids in counting.items() if ids}


def _ids(result: Mapping[str, Any]) -> list[str]:
    return [str(each["id"]) for each in result.get("vulns", ())]


if __name__ == "__main__":
    sys.exit(main())
