"""What `imagewarehouse` says to arguments that are missing or do not go together."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagewarehouse.cli.main import call


@pytest.mark.parametrize("words", [[], ["table"], ["index"], ["model"], ["flow"]], ids=" ".join)
def test_without_a_command_the_help_is_shown_alone(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(words) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"Usage: {' '.join(['imagewarehouse', *words])} [OPTIONS] COMMAND")
    assert said.count("Usage:") == 1
    assert "Commands:" in said


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--sql", "SELECT 1", "--status", "rejected"], "--sql: is the whole question"),
        (["--sql", "SELECT 1", "--request", "01a2"], "--sql: is the whole question"),
        (["--limit", "99999999999999999999"], "'--limit'"),
    ],
    ids=["sql-and-status", "sql-and-request", "limit"],
)
def test_rows_refuses_what_it_cannot_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], why: str
) -> None:
    (tmp_path / "rows.duckdb").touch()
    assert call(["rows", "--data", str(tmp_path), *words]) == 2
    assert why in capsys.readouterr().err
