"""A real Kudu on this machine: one master and one tablet server as child processes, for one user and for tests.

Whoever can reach 127.0.0.1 can read and write it: it has no users and no passwords.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.ports import free_ports, is_free
from imagewarehouse.resources import REPOSITORY

DISTRIBUTION = REPOSITORY / "build" / "kudu"
HOW_TO_FETCH = "python -m tools.artifacts kudu-server"

_HOST = "127.0.0.1"
_SETTING = "--kudu"
_MASTER = "master"
_LOCK_S = 5.0  # how long servers of a killed run may take to go; they do so within milliseconds
_STOP_S = 10.0

# Replaces itself with the server. The kernel then ends the server when the thread that started it is gone, however it
# went. Not done in `preexec_fn`: Python must not run between fork and exec when there are threads.
_LAUNCHER = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent is already gone")
os.environ.update(entry.split("=", 1) for entry in sys.argv[2:5])
os.execv(sys.argv[5], sys.argv[5:])
"""

_COMMON = {
    "unlock_unsafe_flags": "true",
    "unlock_experimental_flags": "true",
    "time_source": "system_unsync",  # one machine has one clock; asking for NTP would fail in containers and on laptops
    "webserver_interface": _HOST,
    # Asked at every start for the cloud this might be, with up to a second each; nobody listens on port 1.
    "cloud_aws_instance_id_url": f"http://{_HOST}:1/",
    "cloud_azure_instance_id_url": f"http://{_HOST}:1/",
    "cloud_gce_instance_id_url": f"http://{_HOST}:1/",
    "cloud_openstack_metadata_url": f"http://{_HOST}:1/",
    # Logs: at most 2 files of 4 MB a severity, written at once so that they say why a server has died.
    "max_log_size": "4",
    "max_log_files": "2",
    "logbuflevel": "-1",
    "metrics_log_interval_ms": "0",
    "diagnostics_log_stack_traces_interval_ms": "0",
    "enable_minidumps": "false",
    # Made for 100 cores: threads that wait cost little, but each keeps memory of its own.
    "rpc_num_service_threads": "8",
    "webserver_num_worker_threads": "4",
    "tcmalloc_max_total_thread_cache_bytes": str(32 << 20),
    "log_container_preallocate_bytes": str(4 << 20),  # 32 MB of disk a container otherwise, even for a single row
}
_OF_MASTER = {
    "memory_limit_hard_bytes": str(256 << 20),
    "block_cache_capacity_mb": "16",
    "default_num_replicas": "1",
}
_OF_TSERVER = {
    "memory_limit_hard_bytes": str(768 << 20),  # writes are slowed down from 80 % on, rows are flushed from 60 % on
    "block_cache_capacity_mb": "64",
    "global_log_cache_size_limit_mb": "128",
    "heartbeat_interval_ms": "250",  # the first often finds the master still starting, and the next was a second later
}


@dataclass(frozen=True, slots=True)
class Ports:
    """Where one server listens, on 127.0.0.1."""

    rpc: int
    web: int


class LocalKudu:
    """One cluster in one folder; starting it again in the same folder finds the same tables on the same ports.

    Servers are named `master`, `tserver-0`, `tserver-1`... They die with this process, even when it is killed. Not
    thread-safe.
    """

    def __init__(
        self,
        folder: Path,
        tservers: int = 1,
        *,
        never_fsync: bool = False,
        flags: Mapping[str, str] | None = None,
        distribution: Path = DISTRIBUTION,
        timeout: float = 60.0,
    ) -> None:
        """`never_fsync` loses rows when the machine (not the server) dies: for tests. `flags` go to every server beside
        ours. `timeout` (seconds) is of a start."""
        self.folder = folder.resolve()
        self.distribution = distribution
        self._tservers = tservers
        self._never_fsync = never_fsync
        self._flags = dict(flags or {})
        self._timeout = timeout
        self._ports: dict[str, Ports] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._instances: dict[str, str] = {}  # what the master last knew of each tablet server, by address
        self._lock: int | None = None
        self._launcher: ThreadPoolExecutor | None = None

    @property
    def masters(self) -> str:
        """What clients connect to."""
        return f"{_HOST}:{self._ports[_MASTER].rpc}"

    @property
    def tservers(self) -> list[str]:
        """The names of the tablet servers."""
        return [name for name in self._ports if name != _MASTER]

    def web(self, n: int | None = None) -> str:
        """The URL of a tablet server's web pages, or the master's."""
        return f"http://{_HOST}:{self._ports[_MASTER if n is None else _tserver(n)].web}"

    def pid(self, name: str) -> int:
        return self._processes[name].pid

    # --- as a whole ---------------------------------------------------------------------------------------------------

    def start(self) -> LocalKudu:
        """Return once tables can be created. Raises ConfigurationError with the last lines of the log."""
        self._check()
        try:
            self._prepare()
            for name in self._ports:
                self._launch(name)
            self._wait(self.tservers)
            (self.folder / "unfinished").unlink(missing_ok=True)
        except BaseException as err:
            self.stop()
            if isinstance(err, OSError):
                raise ConfigurationError(_SETTING, f"{self.folder}: {err.strerror or err}") from err
            raise
        return self

    def stop(self) -> None:
        """Stop all servers; what was written stays. Does nothing when nothing runs."""
        for name in reversed(list(self._processes)):
            self._end(name, signal.SIGTERM)
        self._instances.clear()
        if self._launcher is not None:
            self._launcher.shutdown()
            self._launcher = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> LocalKudu:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def dead(self) -> list[str]:
        """The names of the servers that have ended although nobody asked them to."""
        return [name for name, process in self._processes.items() if process.poll() is not None]

    def last_words(self, name: str) -> str:
        """The last lines of a server's log that name a problem, else the last line."""
        logs = self.folder / "logs" / name
        lines: list[str] = []
        for path in (logs / "out", logs / f"kudu-{'master' if name == _MASTER else 'tserver'}.INFO"):
            with suppress(OSError):
                lines += path.read_text(encoding="utf-8", errors="replace")[-20_000:].splitlines()
        problems = [line for line in lines if line[:1] in ("F", "E") and line[1:9].isdigit()]
        words = " | ".join(problems[-3:] or lines[-1:] or ["nothing"])
        return f"{words[-800:]} (log in {logs})"

    # --- what goes wrong, for tests -----------------------------------------------------------------------------------

    def kill_tserver(self, n: int = 0) -> None:
        """SIGKILL."""
        self._end(_tserver(n), signal.SIGKILL)

    def start_tserver(self, n: int = 0) -> None:
        """Return once the master knows that it is back."""
        self._launch(_tserver(n))
        self._wait([_tserver(n)])

    def kill_master(self) -> None:
        """SIGKILL."""
        self._end(_MASTER, signal.SIGKILL)

    def start_master(self) -> None:
        """Return once it leads and knows every tablet server that runs."""
        self._instances.clear()  # it knows none from before
        self._launch(_MASTER)
        self._wait([name for name in self.tservers if name in self._processes])

    def pause(self, name: str) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        self._processes[name].send_signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        self._processes[name].send_signal(signal.SIGCONT)

    def cli(self, *arguments: str, timeout: float = 60.0) -> str:
        """What `kudu ARGUMENTS` prints. Raises ConfigurationError with what it says when it fails."""
        done = self._kudu(arguments, timeout)
        if done.returncode != 0:
            raise ConfigurationError("kudu " + " ".join(arguments), (done.stderr or done.stdout).strip()[-1000:])
        return done.stdout

    # --- before a start -----------------------------------------------------------------------------------------------

    def _check(self) -> None:
        if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
            problem = "a local Kudu needs Linux x86_64; give the address of a Kudu instead"
            raise ConfigurationError(_SETTING, problem)
        if not (self.distribution / "bin" / "kudu-master").is_file():
            raise ConfigurationError(_SETTING, f"Kudu's servers are not here yet; run `{HOW_TO_FETCH}`")
        if self._lock is not None:
            raise ConfigurationError(_SETTING, f"{self.folder} is already started")

    def _prepare(self) -> None:
        """Take the folder, clear what a start that never finished has left, and decide the ports."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._take_folder()
        unfinished = self.folder / "unfinished"
        if unfinished.exists():
            # Killed while it was laid out for the first time: Kudu refuses such a folder, and no table can be in it.
            for path in [self.folder / _MASTER, *self.folder.glob(_tserver("*"))]:
                shutil.rmtree(path, ignore_errors=True)
        elif not (self.folder / _MASTER).exists():
            unfinished.touch()
        self._decide_ports()

    def _take_folder(self) -> None:
        """Servers inherit the lock, so it is free only when those of a killed run are gone too."""
        self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        until = time.monotonic() + _LOCK_S
        while not _locked(self._lock):
            if time.monotonic() > until:
                raise ConfigurationError(_SETTING, f"{self.folder} is in use by another run")
            time.sleep(0.02)

    def _decide_ports(self) -> None:
        path = self.folder / "ports.json"
        try:
            ports_by_name = {
                name: Ports(*ports) for name, ports in json.loads(path.read_text(encoding="utf-8")).items()
            }
        except FileNotFoundError:
            ports_by_name = {}
        except (ValueError, TypeError, AttributeError) as err:
            raise ConfigurationError(_SETTING, f"{path} cannot be read: {err}; remove it for new ports") from err
        # As many as the folder has had: a tablet may have its only copy on any of them.
        before = sum(1 for item in self.folder.glob(_tserver("*")) if item.is_dir())
        names = [_MASTER, *map(_tserver, range(max(self._tservers, before)))]
        used = {port for ports in ports_by_name.values() for port in (ports.rpc, ports.web)}
        self._ports = {}
        for name in names:
            ports = ports_by_name.get(name)
            if ports is None or not (is_free(ports.rpc) and is_free(ports.web)):
                if ports is not None and len(names) > 2:
                    # Copies of a tablet find each other by the address they once had.
                    raise ConfigurationError(_SETTING, f"port {ports.rpc} or {ports.web} of {name} is taken")
                ports = Ports(*free_ports(2, used))
                used |= {ports.rpc, ports.web}
            self._ports[name] = ports
        text = json.dumps({name: (ports.rpc, ports.web) for name, ports in self._ports.items()})
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            temporary = path.with_suffix(".new")
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)

    # --- one server ---------------------------------------------------------------------------------------------------

    def _launch(self, name: str) -> None:
        if name in self._processes:
            raise ConfigurationError(_SETTING, f"{name} is already started")
        logs = self.folder / "logs" / name
        logs.mkdir(parents=True, exist_ok=True)
        ports = self._ports[name]
        flags = {
            **_COMMON,
            **(_OF_MASTER if name == _MASTER else _OF_TSERVER),
            "fs_wal_dir": str(self.folder / name),
            "rpc_bind_addresses": f"{_HOST}:{ports.rpc}",
            "webserver_port": str(ports.web),
            "log_dir": str(logs),
            "never_fsync": str(self._never_fsync).lower(),
            **self._flags,
        }
        if name != _MASTER:
            flags["tserver_master_addrs"] = self.masters
        program = self.distribution / "bin" / ("kudu-master" if name == _MASTER else "kudu-tserver")
        command = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid())]
        command += [f"{key}={value}" for key, value in self._environment().items()]
        command += [str(program), *(f"--{flag}={value}" for flag, value in flags.items())]

        def popen() -> subprocess.Popen[bytes]:
            assert self._lock is not None
            with (logs / "out").open("wb") as out:  # of this start only, so that it stays small
                return subprocess.Popen(  # noqa: S603
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    cwd=self.folder,
                    start_new_session=True,  # Ctrl-C is for us: what is under way still has to be written
                    pass_fds=[self._lock],
                )

        # "The parent has died" means the thread that started it, so one is kept for that alone.
        self._launcher = self._launcher or ThreadPoolExecutor(1, thread_name_prefix="local-kudu")
        self._processes[name] = self._launcher.submit(popen).result()

    def _end(self, name: str, number: signal.Signals) -> None:
        process = self._processes.pop(name, None)
        if process is None:
            return
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)  # a paused one ends when it goes on
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _wait(self, names: Iterable[str]) -> None:
        """Until the master leads and has heard of these tablet servers since they were started."""
        addresses = {f"{_HOST}:{self._ports[name].rpc}" for name in names}
        until = time.monotonic() + self._timeout
        while True:
            dead = self.dead()
            if dead:
                raise ConfigurationError(_SETTING, f"Kudu's {dead[0]} has ended: {self.last_words(dead[0])}")
            remaining_s = until - time.monotonic()
            if remaining_s <= 0:
                words = "; ".join(f"{name}: {self.last_words(name)}" for name in self._processes)
                raise ConfigurationError(_SETTING, f"Kudu was not ready within {self._timeout:g} s; {words}")
            if not _answers(self._ports[_MASTER].rpc):  # costs nothing, the tool below a tenth of a second
                time.sleep(0.02)
                continue
            instances = self._registered(remaining_s)
            if all(
                address in instances and instances[address] != self._instances.get(address) for address in addresses
            ):
                self._instances.update(instances)
                return
            time.sleep(0.05)

    def _registered(self, timeout: float) -> dict[str, str]:
        """What tells one start of a tablet server from the next, by address. Needs a master that leads."""
        limit = f"-timeout_ms={max(1000, min(5000, int(timeout * 1000)))}"
        columns = "-columns=rpc-addresses,seqno"
        try:
            done = self._kudu(("tserver", "list", self.masters, columns, "-format=json", limit), timeout + 5)
        except subprocess.TimeoutExpired:
            return {}
        if done.returncode != 0:
            return {}
        return {entry["rpc-addresses"]: entry["seqno"] for entry in json.loads(done.stdout)}

    def _kudu(self, arguments: Iterable[str], timeout: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603
            [str(self.distribution / "bin" / "kudu"), *arguments],
            env={**os.environ, **self._environment()},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def _environment(self) -> dict[str, str]:
        library = self.distribution / "lib"
        return {
            "LD_LIBRARY_PATH": str(library),
            "SASL_PATH": str(library / "sasl2"),
            "KUDU_HOME": str(self.distribution),  # the web pages' styles
        }


def _tserver(n: int | str) -> str:
    return f"tserver-{n}"


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((_HOST, port)) == 0
