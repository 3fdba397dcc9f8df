"""A NAR that another Python runs says so before anything compiled is imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.nifi import bundle

RUNNING = f"{sys.version_info[0]}.{sys.version_info[1]}"
PLATFORM = sysconfig.get_platform()


def a_marker(folder: Path, python: str = RUNNING, platform: str = PLATFORM) -> Path:
    path = folder / bundle.MARKER.name
    path.write_text(json.dumps({"python": python, "platform": platform, "variant": "core"}))
    return path


def test_a_checkout_is_packed_for_nothing() -> None:
    assert not bundle.MARKER.exists()
    assert bundle.problem() is None
    bundle.check()


def test_the_python_it_was_packed_for_is_fine(tmp_path: Path) -> None:
    assert bundle.problem(a_marker(tmp_path)) is None


@pytest.mark.parametrize(
    ("python", "platform", "wanted"),
    [
        pytest.param("3.9", PLATFORM, f"Python 3.9 on {PLATFORM}", id="another-python"),
        pytest.param(RUNNING, "linux-m68k", f"Python {RUNNING} on linux-m68k", id="another-machine"),
        pytest.param(RUNNING + "0", PLATFORM, f"Python {RUNNING}0 on {PLATFORM}", id="python-that-begins-alike"),
    ],
)
def test_another_python_or_machine_is_named_with_what_to_do(
    tmp_path: Path, python: str, platform: str, wanted: str
) -> None:
    found = bundle.problem(a_marker(tmp_path, python, platform))
    assert found == (
        f"this NAR is packed for {wanted}, and NiFi runs Python {RUNNING} on {PLATFORM}: set it to another Python, or"
        f" pack with `make nar PYTHON_VERSION={RUNNING} PLATFORM={PLATFORM}`"
    )


def test_the_check_names_the_setting_of_nifi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle.problem, "__defaults__", (a_marker(tmp_path, "3.9"),))
    with pytest.raises(ConfigurationError, match=r"^nifi\.python\.command: this NAR is packed for Python 3\.9 on "):
        bundle.check()


def test_the_check_needs_no_library(tmp_path: Path) -> None:
    """As in NiFi: no site-packages, and here not even the libraries of the NAR."""
    core = tmp_path / "imagewarehouse"
    (core / "nifi").mkdir(parents=True)
    for name in ("__init__.py", "errors.py", "text.py", "nifi/__init__.py", "nifi/bundle.py"):
        (core / name).write_bytes((Path(bundle.__file__).parent.parent / name).read_bytes())
    a_marker(core, "3.9")
    done = subprocess.run(
        [sys.executable, "-S", "-c", "from imagewarehouse.nifi import bundle; bundle.check()"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("imagewarehouse.errors.ConfigurationError: nifi.python.command: this NAR is packed for")
