"""The NAR: the file here, and what NiFi's NAR manager has of it."""

from __future__ import annotations

import ast
import re
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagewarehouse.amounts import listed
from imagewarehouse.checksums import file_sha256
from imagewarehouse.deployment.connection import Nifi
from imagewarehouse.deployment.errors import NifiError
from imagewarehouse.deployment.report import Report
from imagewarehouse.deployment.wait import until
from imagewarehouse.errors import ConfigurationError
from imagewarehouse.flows.definition import read_flow
from imagewarehouse.resources import FLOW, REPOSITORY

DIST = REPOSITORY / "dist"
CREATOR = "imagewarehouse"
NAR_ID = "image-warehouse-nar"
COPIED = "copied into lib or extensions"
PYTHON_BUNDLE = ("org.apache.nifi", "python-extensions")  # NiFi puts every Python processor into this one

_CHUNK = 1 << 20
_LARGEST = 1 << 30  # the NAR manager reads no further
_TWICE_S = 15.0  # NiFi finishes an installation within a second of offering what is in the NAR
_UPLOAD_S = 900.0  # NiFi answers once it has written the file, in a cluster once every node has


class NarWasCopied(NifiError):
    """NiFi has a NAR of these coordinates that is not in its NAR manager."""


@dataclass(frozen=True, slots=True)
class LocalNar:
    """A NAR file of ours. `types`: versions of the processors in it, by type."""

    path: Path
    group: str
    id: str
    version: str
    created_by: str
    types: Mapping[str, str]

    @property
    def name(self) -> str:
        return f"{self.id} {self.version}"

    @property
    def processor_version(self) -> str:
        return next(iter(self.types.values()))


@dataclass(frozen=True, slots=True)
class InstalledNar:
    """A NAR in NiFi's NAR manager."""

    identifier: str
    group: str
    id: str
    version: str
    created_by: str
    digest: str
    state: str
    failure: str
    complete: bool

    @property
    def name(self) -> str:
        return f"{self.id} {self.version}"

    @property
    def ours(self) -> bool:
        return self.created_by.split(" ", 1)[0] == CREATOR


# --- the file -----------------------------------------------------------------------------------------------------


def find_nar(path: Path | None, folder: Path = DIST) -> Path:
    """The NAR to deploy: the one asked for, else the newest in dist. Raises ConfigurationError."""
    if path is not None:
        if not path.is_file():
            raise ConfigurationError("--nar", f"there is no file {path}")
        return path
    files = sorted(folder.glob("*.nar"), key=lambda file: file.stat().st_mtime)
    if not files:
        raise ConfigurationError("--nar", f"there is no NAR in {folder}; `make nar` builds one, or name one of yours")
    return files[-1]


def read_nar(path: Path) -> LocalNar:
    """Raises ConfigurationError when it is not a NAR with Python processors of one version."""
    try:
        with zipfile.ZipFile(path) as nar:
            manifest = _manifest(nar.read("META-INF/MANIFEST.MF").decode("utf-8"))
            types = dict(_types(nar))
    except (OSError, zipfile.BadZipFile) as err:
        raise ConfigurationError("--nar", f"{path} cannot be read: {getattr(err, 'strerror', None) or err}") from err
    except KeyError as err:
        raise ConfigurationError("--nar", f"{path} is no NAR: it has no META-INF/MANIFEST.MF") from err
    missing = [key for key in ("Nar-Group", "Nar-Id", "Nar-Version") if not manifest.get(key)]
    if missing:
        raise ConfigurationError("--nar", f"{path} is no NAR: its manifest lacks {', '.join(missing)}")
    if not types:
        raise ConfigurationError("--nar", f"{path} has no Python processor in its root folder")
    if len(set(types.values())) > 1:
        versions = listed([f"{name} {version}" for name, version in sorted(types.items())])
        raise ConfigurationError("--nar", f"{path} has processors of several versions: {versions}")
    if path.stat().st_size > _LARGEST:
        raise ConfigurationError("--nar", f"{path} is larger than the 1 GB that NiFi's NAR manager takes")
    group, name, version = (manifest[key] for key in ("Nar-Group", "Nar-Id", "Nar-Version"))
    return LocalNar(path, group, name, version, manifest.get("Created-By", ""), types)


def _manifest(text: str) -> dict[str, str]:
    unfolded = re.sub(r"\r?\n ", "", text)  # a line of more than 72 bytes goes on after a space
    lines = (line.partition(":") for line in unfolded.splitlines())
    return {key.strip(): value.strip() for key, _, value in lines if key.strip()}


def _types(nar: zipfile.ZipFile) -> Iterator[tuple[str, str]]:
    """Processors as NiFi finds them: classes in root modules, read and not imported."""
    for name in nar.namelist():
        if "/" in name or not name.endswith(".py"):
            continue
        for node in ast.parse(nar.read(name)).body:
            if not isinstance(node, ast.ClassDef):
                continue
            inner = {part.name: part for part in node.body if isinstance(part, ast.ClassDef)}
            if "Java" in inner and "ProcessorDetails" in inner:
                yield node.name, _literal(inner["ProcessorDetails"], "version") or "Unknown"


def _literal(node: ast.ClassDef, name: str) -> str | None:
    for part in node.body:
        if not (isinstance(part, ast.Assign) and isinstance(part.value, ast.Constant)):
            continue
        if any(isinstance(target, ast.Name) and target.id == name for target in part.targets):
            return str(part.value.value)
    return None


# --- in NiFi ------------------------------------------------------------------------------------------------------


def installed_nars(nifi: Nifi) -> list[InstalledNar]:
    """Those of the NAR manager; NARs in NiFi's lib or extensions folder are not among them."""
    answer = nifi.get("/controller/nar-manager/nars")
    return [_installed(entity["narSummary"]) for entity in answer.get("narSummaries") or []]


def _installed(summary: Mapping[str, Any]) -> InstalledNar:
    coordinate = summary.get("coordinate") or {}
    return InstalledNar(
        identifier=summary["identifier"],
        group=coordinate.get("group") or "",
        id=coordinate.get("artifact") or "",
        version=coordinate.get("version") or "",
        created_by=summary.get("createdBy") or "",
        digest=summary.get("digest") or "",
        state=summary.get("state") or "",
        failure=summary.get("failureMessage") or "",
        complete=bool(summary.get("installComplete")),
    )


def is_same(local: LocalNar, installed: InstalledNar) -> bool:
    """Whether NiFi has this very content: by the hash in the manifest, else by the file's own."""
    if (local.group, local.id, local.version) != (installed.group, installed.id, installed.version):
        return False
    if "sha256:" in local.created_by:
        return local.created_by == installed.created_by
    return bool(installed.digest) and installed.digest.lower() == file_sha256(local.path)


def our_types() -> frozenset[str]:
    """Types of the Python processors that the shipped flow uses."""
    return frozenset(
        component.type for component in read_flow(FLOW).components.values() if component.bundle[:2] == PYTHON_BUNDLE
    )


def copied_versions(offered: Iterable[tuple[str, str]], managed: Iterable[InstalledNar]) -> list[str]:
    """Versions that NiFi offers all our processors in and that no NAR of its NAR manager has.

    Those are of a file that somebody has put into NiFi's lib or extensions folder. NiFi tells neither its name nor what is in
    it, so that the version is all there is to go by. NARs have the version of their processors.
    """
    types_by_version: dict[str, set[str]] = {}
    for kind, version in offered:
        types_by_version.setdefault(version, set()).add(kind)
    known, ours = {nar.version for nar in managed}, our_types()
    return sorted(version for version, kinds in types_by_version.items() if ours <= kinds and version not in known)


def how_to_remove(versions: Iterable[str]) -> str:
    """NiFi removes no NAR that was copied; this says what to do by hand."""
    files = listed([f"image-warehouse*-{version}-*.nar" for version in versions])
    return f"remove {files} from NiFi's lib and extensions folders (every node) and restart NiFi"


def upload(nifi: Nifi, nar: LocalNar, report: Report) -> InstalledNar:
    """Send the file. NiFi installs it in the background."""
    size = nar.path.stat().st_size
    with report.progress(f"uploading {nar.path.name}", size) as bar:

        def chunks() -> Iterator[bytes]:
            with nar.path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    yield chunk
                    for task in bar.task_ids:
                        bar.advance(task, len(chunk))

        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size), "Filename": nar.path.name}
        try:
            answer = nifi.call(
                "POST", "/controller/nar-manager/nars/content", content=chunks(), headers=headers, timeout=_UPLOAD_S
            )
        except NifiError as err:
            if "not part of the NAR Manager" in str(err):
                raise NarWasCopied(str(err)) from err
            raise NifiError(_upload_hint(str(err))) from err
    return _installed(answer["narSummary"])


def _upload_hint(text: str) -> str:
    if "not currently connected" in text:
        return f"{text}; NiFi gives a NAR to all nodes or to none: connect them, or remove them from the cluster"
    return text


def wait_installed(nifi: Nifi, nar: InstalledNar, types: Mapping[str, str], timeout: float) -> InstalledNar:
    """Until NiFi has unpacked it and found what is in it. Raises NifiError with NiFi's own words.

    One that is not `complete` is never going to be: NiFi found the same NAR in its extensions folder while it was uploaded,
    loaded that one, and says of this one that it is being installed for as long as it runs.
    """
    offered_since: float | None = None

    def look() -> InstalledNar | None:
        nonlocal offered_since
        now = _installed(nifi.get(f"/controller/nar-manager/nars/{nar.identifier}")["narSummary"])
        if now.failure or now.state.upper() == "FAILED":
            raise NifiError(f"NiFi could not install {now.name}: {now.failure or 'see its nifi-app.log'}")
        if now.state.upper() in ("MISSING_DEPENDENCY", "MISSING DEPENDENCY"):
            raise NifiError(f"NiFi lacks a NAR that {now.name} depends on; see its nifi-app.log")
        if now.complete and now.state.upper() == "INSTALLED":
            return now
        if set(types.items()) <= set(python_types(nifi)):
            offered_since = offered_since or time.monotonic()
            return now if time.monotonic() - offered_since > _TWICE_S else None
        return None

    return until(look, timeout, lambda: f"NiFi has not finished installing {nar.name}")


def python_types(nifi: Nifi) -> list[tuple[str, str]]:
    """(type, version) of every Python processor NiFi offers."""
    group, artifact = PYTHON_BUNDLE
    answer = nifi.get("/flow/processor-types", bundleGroupFilter=group, bundleArtifactFilter=artifact)
    return [
        (processor_type["type"], processor_type["bundle"]["version"])
        for processor_type in answer.get("processorTypes") or []
    ]


def wait_types(nifi: Nifi, nar: LocalNar, timeout: float) -> None:
    """Until NiFi offers every processor of the NAR. Raises NifiError saying what is missing, and why."""
    offered_types: list[tuple[str, str]] = []

    def look() -> bool | None:
        offered_types[:] = python_types(nifi)
        return True if set(nar.types.items()) <= set(offered_types) else None

    try:
        # It has looked for them before it said that the NAR is installed; the rest is for the other nodes of a cluster.
        until(look, min(timeout, 15.0), lambda: "")
    except NifiError as err:
        raise NifiError(_no_types(nar, offered_types)) from err


def _no_types(nar: LocalNar, offered_types: Sequence[tuple[str, str]]) -> str:
    if not offered_types:
        return (
            f"NiFi has taken {nar.name}, and offers no Python processor at all: Python is switched off. Set\n"
            "    nifi.python.command=python3\n"
            "in conf/nifi.properties of every node (3.10, 3.11 or 3.12, the version that the NAR was built for), restart NiFi,"
            " and run this command again; it goes on from here."
        )
    missing = sorted(name for name, version in nar.types.items() if (name, version) not in offered_types)
    return f"NiFi has installed {nar.name} and does not offer {listed(missing)}; see 'python' in its nifi-app.log"


def others(nars: Sequence[InstalledNar], nar: LocalNar) -> list[InstalledNar]:
    """Other versions of it that are installed."""
    return [other for other in nars if (other.group, other.id) == (nar.group, nar.id) and other.version != nar.version]


def delete(nifi: Nifi, nar: InstalledNar, timeout: float) -> None:
    """Raises NifiError, for instance while a component of it is on the canvas."""
    nifi.call("DELETE", f"/controller/nar-manager/nars/{nar.identifier}")
    until(
        lambda: True if all(other.identifier != nar.identifier for other in installed_nars(nifi)) else None,
        timeout,
        lambda: f"NiFi has not finished removing {nar.name}",
    )
