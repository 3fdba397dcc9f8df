"""The wheel, installed into an empty environment, runs and classifies an image."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from imagewarehouse.ports import free_ports
from imagewarehouse.resources import REPOSITORY
from tests.running import post

UV = Path(sys.executable).parent / "uv"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as a release is, from what git has."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    listed = subprocess.run(
        ["git", "ls-files", "-z", "imagewarehouse", "processors", "flows", "model", "analytics", "pyproject.toml", "setup.py",
         "README.md", "LICENSE"], cwd=REPOSITORY, capture_output=True, check=True,
    ).stdout.decode().split("\0")  # fmt: skip
    for name in filter(None, listed):
        if (REPOSITORY / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((REPOSITORY / name).read_bytes())
    command = [
        UV,
        "build",
        "--wheel",
        "--no-build-isolation",
        "--quiet",
        "--python",
        sys.executable,
        "--out-dir",
        folder,
        source,
    ]
    subprocess.run([str(part) for part in command], check=True, timeout=120)
    (found,) = folder.glob("*.whl")
    return found


def test_everything_it_installs_lies_in_the_package(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"imagewarehouse", "imagewarehouse-0.1.0.dist-info"}
    inside = [name.removeprefix("imagewarehouse/resources/") for name in names if "/resources/" in name]
    assert "processors/ClassifyImage.py" in inside
    assert "flows/image-warehouse.json" in inside
    assert "model/cifar10/3/manifest.json" in inside
    assert "analytics/queries/totals.sql" in inside
    for folder in ("training/report/templates", "analytics/page"):
        files = (REPOSITORY / "imagewarehouse" / folder).rglob("*.*")
        wanted = {str(path.relative_to(REPOSITORY)) for path in files}
        assert wanted
        assert wanted <= set(names)
    assert not [name for name in names if "__pycache__" in name or name.endswith(".h5")]


@pytest.fixture(scope="module")
def command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of an environment with nothing in it but the wheel and what it needs, from the lock."""
    home = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([str(UV), "venv", "--quiet", "--python", sys.executable, str(home)], check=True, timeout=120)
    install = [str(UV), "pip", "install", "--quiet", "--python", str(home / "bin" / "python")]
    locked = [
        "--require-hashes",
        "--constraint",
        str(REPOSITORY / "requirements.lock"),
        "-r",
        str(REPOSITORY / "pyproject.toml"),
    ]
    subprocess.run([*install, *locked], check=True, timeout=280)
    subprocess.run([*install, "--no-deps", str(wheel)], check=True, timeout=120)
    return home / "bin" / "imagewarehouse"


@pytest.fixture
def elsewhere() -> dict[str, str]:
    """An environment without the repository on any path."""
    return {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    }


def test_the_command_runs_and_classifies_an_image(command: Path, elsewhere: dict[str, str], tmp_path: Path) -> None:
    images, classify = free_ports(2)
    arguments = [str(command), "run", "--data", str(tmp_path / "data"), "--set", f"http.images.port={images}", "--set",
                 f"http.classify.port={classify}"]  # fmt: skip
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(arguments, cwd=tmp_path, env=elsewhere, stdout=log, stderr=log)
    try:
        picture = io.BytesIO()
        Image.radial_gradient("L").resize((64, 64)).convert("RGB").save(picture, "JPEG")
        until = time.monotonic() + 60
        while True:
            try:
                answer = post(
                    f"http://127.0.0.1:{classify}/classify", picture.getvalue(), {"Content-Type": "image/jpeg"}
                )
                break
            except OSError:
                running = process.poll() is None and time.monotonic() < until
                assert running, (tmp_path / "log").read_text()
                time.sleep(0.1)
        assert answer.status == 200
        record = answer.json()
        assert (record["status"], record["model_name"]) == ("classified", "cifar10")
        sql = f"SELECT status FROM image_events WHERE request_id = '{record['request_id']}'"
        asked = [str(command), "rows", "--data", str(tmp_path / "data"), "--sql", sql, "--json"]
        rows = subprocess.run(
            asked, cwd=tmp_path, env=elsewhere, capture_output=True, text=True, check=True, timeout=60
        )
        assert json.loads(rows.stdout)["status"] == "classified"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    assert process.returncode == 0


@pytest.mark.parametrize(
    "words", [["--help"], ["flow", "check"], ["model", "info"], ["deploy", "--help"], ["train", "--help"]]
)
def test_the_other_commands_find_what_they_need(
    command: Path, elsewhere: dict[str, str], tmp_path: Path, words: list[str]
) -> None:
    done = subprocess.run(
        [str(command), *words], cwd=tmp_path, env=elsewhere, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
