"""`imagewarehouse rows` on a file that another program has open."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagewarehouse.cli.main import call
from imagewarehouse.rows.locks import FileHeld


def test_a_file_that_another_program_has_open_says_who_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def held(*_: object) -> None:
        raise FileHeld("rows.duckdb: /usr/bin/duckdb (PID 4711) has it open")

    (tmp_path / "rows.duckdb").touch()
    monkeypatch.setattr("imagewarehouse.rows.reading.read", held)
    assert call(["rows", "--data", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "PID 4711" in said
    assert "once it closes the file" in said
