"""The wheel, installed elsewhere: it brings its templates, migrations and interface descriptions, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from migrations import head

ROOT = Path(__file__).parents[2]

# Started in a folder that has packages of the same names, which must not be taken for ours.
PROOF = """
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path

import billing, gateways, jobs, migrations, templates
from billing.mail import Bill, Brand, Letter, MailKind, render
from billing.money import Money
from billing.web.pages import NotFound, Pages, static_url
from gateways.registry import open_gateway
from jobs.doctor import checks

for package in (billing, gateways, jobs, migrations, templates):
    assert Path(package.__file__).is_relative_to(sys.argv[1]), package.__file__
assert version("turnus")

brand = Brand("Gym", "Gym GmbH", "Gym GmbH, Wien", timezone="Europe/Vienna")
bill = Bill("TH-1", "Solo", Money(2500, "EUR"))
for locale in ("en-AT", "de-AT"):
    assert "data-page" in Pages().render(NotFound(), locale)
    day = date(2026, 12, 1)
    link = {"link_url": "https://x.example/p/1", "link_until": day}
    mail = render(Letter(MailKind.INVOICE, locale, brand, day, bill=bill, **link))
    assert "TH-1" in mail.subject + mail.text
assert static_url("turnus.css").startswith("/static/turnus.css?v=")
assert len(checks()) > 20
open_gateway("mpay24", {"endpoint": "http://127.0.0.1:9/x", "merchant_id": "90001", "password": "x"})
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [path] = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    subprocess.run([*pip, "--target", str(target), str(wheel)], check=True, capture_output=True)
    return target


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder whose own packages have our names."""
    for name in ("templates", "migrations", "gateways", "billing"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mail").mkdir()
    (tmp_path / "templates" / "pages").mkdir()
    (tmp_path / "templates" / "pages" / "not_found.html").write_text("not ours")
    return tmp_path


def start(installed: Path, folder: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TURNUS_")}
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=kept | {"PYTHONPATH": str(installed)} | settings,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_top_level_is_exactly_five_names_and_the_wheels_own_facts(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    [facts] = [name for name in tops if name.endswith(".dist-info")]
    assert tops - {facts} == {"billing", "gateways", "jobs", "migrations", "templates"}


def test_nothing_of_tests_caches_or_secrets_is_in_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert not [name for name in names if "test" in name or "__pycache__" in name or name.endswith((".db", ".env"))]
    for needed in (
        "gateways/wsdl/ETP.wsdl",
        "jobs/promises.sql",
        "templates/__init__.py",
        "templates/pages/de.toml",
        "templates/static/turnus.css",
        "migrations/script.py.mako",
        "gateways/sandbox/pages/mpay24.html",
    ):
        assert needed in names


def test_installed_it_finds_its_own_packages_and_files_and_not_those_of_the_current_folder(
    installed: Path, elsewhere: Path
) -> None:
    done = start(installed, elsewhere, "-c", PROOF, str(installed))
    assert done.returncode == 0, done.stderr


def test_installed_it_migrates_a_database_and_examines_it(installed: Path, elsewhere: Path) -> None:
    settings = {"TURNUS_SECRET_KEY": "x" * 40, "TURNUS_DATABASE_URL": f"sqlite:///{elsewhere}/turnus.db"}
    for words, says in (
        (["migrate", "--json"], json.dumps({"revision": head()})),
        (["doctor"], "11 of 11 promises kept."),
    ):
        done = start(installed, elsewhere, "-c", f"from jobs.cli import main; main({words})", **settings)
        assert (done.returncode, done.stdout.strip()) == (0, says), done.stderr


def test_installed_it_starts_the_simulators(installed: Path, elsewhere: Path) -> None:
    done = start(installed, elsewhere, "-c", "from jobs.cli import main; main(['sandbox', '--state-dir', '/proc/x'])")
    assert (done.returncode, done.stdout) == (2, "")
    assert "the state folder /proc/x cannot be used" in done.stderr
