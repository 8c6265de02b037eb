"""`turnus archive`: what is old goes into a folder; a wrong folder or too few days changes nothing."""

from __future__ import annotations

from pathlib import Path

from tests.jobs.conftest import Shell


def test_where_nothing_is_old_no_file_is_made(lite: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    folder.mkdir()

    assert lite("archive", str(folder)).out == "0 notifications archived.\n"
    assert lite("archive", str(folder), "--json").json == {"notifications": 0, "files": []}
    assert not list(folder.iterdir())


def test_a_folder_that_is_not_there_and_too_few_days_are_one_clear_line(lite: Shell, tmp_path: Path) -> None:
    assert "there is no folder" in lite("archive", str(tmp_path / "nowhere")).refusal
    assert "--days: at least 30" in lite("archive", str(tmp_path), "--days", "7").refusal
