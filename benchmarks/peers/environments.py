"""An environment for each peer, from its own lock, and older commits of the product with theirs.

requirements-<name>.in says what a peer needs and why; requirements-<name>.txt is its lock, with hashes and without addresses.
Environments are made when they are asked for, in build/peers/, and made anew when their lock has changed.
"""

from __future__ import annotations

import hashlib
import io
import operator
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from imagewarehouse.resources import REPOSITORY

HERE = Path(__file__).resolve().parent
FOLDER = REPOSITORY / "build" / "peers"
PEERS = ("bare", "mosec", "litserve", "bentoml", "ray")
_UV = Path(sys.executable).with_name("uv")
GIT = shutil.which("git") or "git"
_PYTHON = "3.11"
_COMPARED = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq}
_SHARED = ("ai-edge-litert", "numpy", "pillow")  # other versions could give other pixels or probabilities


def lock_file(name: str) -> Path:
    return HERE / f"requirements-{name}.txt"


def environment(name: str) -> Path:
    """The Python of a peer's environment, which is made if need be."""
    return _made(FOLDER / name, lock_file(name).read_bytes(), ["-r", str(lock_file(name))])


def product_at(commit: str) -> tuple[Path, Path, str]:
    """An older commit of the product: its folder, its Python, its full name.

    The tree is taken out of the repository into build/peers/, not as a git worktree: nothing has to be cleared away in .git
    when the folder is removed. Its own lock decides on its environment: ours, where that is the same.
    """
    found = subprocess.run(
        [GIT, "rev-parse", "--verify", f"{commit}^{{commit}}"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )  # fmt: skip
    if found.returncode != 0:
        raise SystemExit(f"--against: {commit} is no commit of this repository")
    name = found.stdout.strip()
    tree = FOLDER / "commits" / name[:12]
    if not (tree / ".complete").is_file():
        shutil.rmtree(tree, ignore_errors=True)
        tree.mkdir(parents=True)
        archive = subprocess.run([GIT, "archive", name], cwd=REPOSITORY, capture_output=True, check=True)
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
            files.extractall(tree, filter="data")
        (tree / ".complete").touch()
    lock = (tree / "requirements.lock").read_bytes()
    if lock == (REPOSITORY / "requirements.lock").read_bytes():
        return tree, Path(sys.executable), name
    arguments = ["--constraint", str(tree / "requirements.lock"), "-r", str(tree / "pyproject.toml")]
    return tree, _made(FOLDER / f"product-{hashlib.sha256(lock).hexdigest()[:12]}", lock, arguments), name


def renew_locks() -> None:
    """Resolve every requirements-<name>.in anew."""
    for name in PEERS:
        print(f"locking {name}", flush=True)
        subprocess.run(
            [_UV, "pip", "compile", "--universal", "--python-version", _PYTHON, "--generate-hashes", "--no-emit-index-url",
             "--no-annotate", "--no-header", "--quiet", "--upgrade", HERE / f"requirements-{name}.in", "--output-file",
             lock_file(name)],
            check=True,
        )  # fmt: skip


def check_shared_versions() -> None:
    """The runtime, the arrays and the decoder are the product's own in every environment."""
    wanted = locked_versions((REPOSITORY / "requirements.lock").read_text())
    for name in PEERS:
        found = locked_versions(lock_file(name).read_text())
        for package in _SHARED:
            if found[package] != wanted[package]:
                raise SystemExit(
                    f"{lock_file(name).name} has {package} {found[package]}, the product {wanted[package]}: "
                    "set it in the .in files and run python -m benchmarks.peers --lock"
                )


def locked_versions(lock: str) -> dict[str, str]:
    """Versions that a lock gives to this Python: where there are several, the one whose marker names it."""
    versions: dict[str, str] = {}
    for name, version, marker in re.findall(r"^([\w.-]+)==([^\s;\\]+)(?: *; *([^\\\n]*))?", lock, re.MULTILINE):
        if _applies(marker):
            versions[name.lower()] = version
    return versions


def _applies(marker: str) -> bool:
    """Of the markers that tell Pythons apart; all others say nothing about versions here."""
    ours = _release(_PYTHON)
    for comparison, text in re.findall(r"python_full_version *(<=?|>=?|==) *'([\d.]+)", marker):
        if not _COMPARED[comparison](ours, _release(text)):
            return False
    return True


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.rstrip(".*").split(".")[:2])


def _made(folder: Path, lock: bytes, requirements: list[str]) -> Path:
    stamp, digest = folder / ".lock-sha256", hashlib.sha256(lock).hexdigest()
    python = folder / "bin" / "python"
    if not (stamp.is_file() and stamp.read_text() == digest):
        print(f"installing {folder.name} (once)...", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([_UV, "venv", "--quiet", "--python", sys.executable, folder], check=True)
        subprocess.run(
            [
                _UV,
                "pip",
                "install",
                "--quiet",
                "--compile-bytecode",
                "--require-hashes",
                "--python",
                python,
                *requirements,
            ],
            check=True,
        )
        stamp.write_text(digest)
    return python
