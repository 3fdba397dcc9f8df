"""A real NiFi on this machine, in a folder of its own: for tests, measurements and trials.

    python -m tools.local_nifi --folder build/nifi      runs one until Ctrl-C and prints its address

It runs the NiFi that lies in NIFI_HOME and changes nothing there: configuration is copied, programs are linked, and all
that NiFi writes goes into the folder. Without HTTPS it has no users; whoever can reach 127.0.0.1 can use it.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.ports import HOST, free_ports, is_free
from imagewarehouse.resources import REPOSITORY
from tools.artifacts import java_version

SHIPPED_PROPERTIES = REPOSITORY / "nifi-conf" / "nifi.properties.example"

_SETTING = "NIFI_HOME"
_IMAGE_HOME = Path("/opt/nifi/nifi-current")  # where NiFi's container image has it
_OLDEST_JAVA = 21
_BEST_JAVA = 25
_UNPINNED_JAVA = 24  # from here on a virtual thread that waits for a lock gives its carrier thread to others
_STOP_S = 60.0  # NiFi gives running tasks 10 seconds, and then each Python process has to go

# Stands between us and NiFi, in a process group of its own: when whoever started it is gone, however it went, its
# standard input ends, and it ends the whole group, NiFi's Python processes included. It also clears up what a JVM that
# was killed has left behind.
_KEEPER = """
import os, signal, subprocess, sys, threading
java = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=sys.stderr)
print(java.pid, flush=True)
def watch():
    sys.stdin.buffer.read()
    os.killpg(0, signal.SIGKILL)
threading.Thread(target=watch, daemon=True).start()
print(java.wait(), flush=True)
os.killpg(0, signal.SIGKILL)
"""


@dataclass(frozen=True, slots=True)
class PythonProcess:
    """A Python process of NiFi. `type` is `Controller` for the one that only looks for processors.

    `processor` is the processor's identifier, where the log tells: NiFi names the type of a process when it starts it, so
    it is None as soon as there are several processors of one type.
    """

    pid: int
    type: str | None
    processor: str | None


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files of a NiFi with HTTPS; the client certificate is one that NiFi trusts."""

    ca: Path
    certificate: Path
    key: Path
    client_certificate: Path
    client_key: Path


def nifi_home(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Where NiFi is installed: NIFI_HOME, else the place it has in its container image; None where it is not."""
    named = environ.get("NIFI_HOME")
    home = Path(named) if named else _IMAGE_HOME
    return home if (home / "conf" / "nifi.properties").is_file() and (home / "lib").is_dir() else None


def find_java(environ: Mapping[str, str] = os.environ) -> tuple[Path, int]:
    """A `java` that NiFi 2 runs on, and its version. JAVA_HOME wins if it is new enough, then Java 25, then the newest.

    Raises ConfigurationError saying what was found.
    """
    installations: list[tuple[Path, int]] = []
    for home in _java_homes(environ):
        java = home / "bin" / "java"
        version = _java_version(home) if java.is_file() else None
        if version is None:
            continue
        installations.append((java, version))
        if version >= _OLDEST_JAVA and str(home) == environ.get("JAVA_HOME"):
            return java, version
    new_enough = [java_and_version for java_and_version in installations if java_and_version[1] >= _OLDEST_JAVA]
    if not new_enough:
        versions = ", ".join(f"{version} in {java.parent.parent}" for java, version in installations) or "none"
        raise ConfigurationError(
            "JAVA_HOME", f"NiFi 2 needs Java {_OLDEST_JAVA} or newer, {_BEST_JAVA} is best; found {versions}"
        )
    return max(new_enough, key=lambda java_and_version: (java_and_version[1] == _BEST_JAVA, java_and_version[1]))


def _java_homes(environ: Mapping[str, str]) -> Iterator[Path]:
    if environ.get("JAVA_HOME"):
        yield Path(environ["JAVA_HOME"])
    on_path = shutil.which("java", path=environ.get("PATH", ""))
    if on_path:
        yield Path(on_path).resolve().parent.parent
    for places in ("/usr/lib/jvm/*", "/opt/java/*", "/opt/jdk*", "/Library/Java/JavaVirtualMachines/*/Contents/Home"):
        yield from sorted(Path("/").glob(places[1:]))
    yield from sorted(Path.home().glob(".sdkman/candidates/java/*"))


def _java_version(home: Path) -> int | None:
    """25 for 25.0.1; None when it is unknown."""
    try:
        release = (home / "release").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return java_version(home / "bin" / "java")
    match = re.search(r'JAVA_VERSION="(?:1\.)?(\d+)', release)
    return int(match[1]) if match else None


class LocalNifi:
    """One NiFi in one folder; starting it again in the same folder finds the same flow, queues and NARs.

    Without a folder it gets a temporary one, which is removed at the end of the `with` block, or by `remove`. Everything of
    it ends when this process ends, even when that is killed. Not thread-safe.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        home: Path | None = None,
        python: str | None = sys.executable,
        heap: str = "1g",
        https: bool = False,
        port: int | None = None,
        properties: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        jvm_options: Sequence[str] = (),
    ) -> None:
        """`python` runs the processors; None switches Python off. `properties` go into nifi.properties last; `environment`
        is added to this process' own, for NiFi and its Python processes. With `https`, NiFi has one user: see `username`,
        `password`, `tls`.

        Raises ConfigurationError when there is no NiFi or no Java for it.
        """
        nifi = home or nifi_home()
        if nifi is None:
            where = os.environ.get("NIFI_HOME") or _IMAGE_HOME
            raise ConfigurationError(
                _SETTING, f"there is no NiFi in {where}; unpack NiFi 2 and name its folder in NIFI_HOME"
            )
        self.home = nifi.resolve()
        self.java, self.java_version = find_java()
        self._temporary = folder is None
        self.folder = Path(tempfile.mkdtemp(prefix="local-nifi-")) if folder is None else folder.resolve()
        self.python = python
        self.port = port or 0
        self.username = ""
        self.password = ""
        self.tls: Tls | None = None
        self._https = https
        self._heap = heap
        self._properties = dict(properties or {})
        self._environment = dict(environment or {})
        self._jvm_options = tuple(jvm_options)
        self._keeper: subprocess.Popen[bytes] | None = None
        self.pid: int | None = None  # of the JVM
        self._management = 0

    # --- as a whole ---------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where it answers; the REST API is below /nifi-api."""
        return f"{'https' if self._https else 'http'}://{HOST}:{self.port}"

    @property
    def log_path(self) -> Path:
        return self.folder / "logs" / "nifi-app.log"

    @property
    def autoload(self) -> Path:
        """NARs put here are loaded while NiFi runs."""
        return self.folder / "extensions"

    @property
    def python_extensions(self) -> Path:
        """Python modules put here are found within a minute."""
        return self.folder / "python" / "extensions"

    @property
    def running(self) -> bool:
        return self._keeper is not None and self._keeper.poll() is None

    def start(self, timeout: float = 180.0) -> LocalNifi:
        """Return once the REST API answers. Raises ConfigurationError with the last lines of the log."""
        if self._keeper is not None:
            raise ConfigurationError(_SETTING, f"the NiFi in {self.folder} is already started")
        try:
            self._prepare()
            self._launch()
            self._wait(time.monotonic() + timeout, timeout)
        except BaseException as err:
            self.kill()
            if isinstance(err, OSError):
                raise ConfigurationError(_SETTING, f"{self.folder}: {err.strerror or err}") from err
            raise
        return self

    def stop(self, timeout: float = _STOP_S) -> None:
        """Let NiFi finish what it does and end; what is queued stays in its repositories."""
        if self._keeper is None or self.pid is None:
            return
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        try:
            self._keeper.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
        self._reset()

    def kill(self) -> None:
        """SIGKILL, for NiFi and all of its Python processes at once."""
        if self._keeper is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._keeper.pid, signal.SIGKILL)
        self._keeper.wait()
        self._reset()

    def restart(self, timeout: float = 180.0) -> None:
        """Stop and start, on the same ports."""
        self.stop()
        self.start(timeout)

    def remove(self) -> None:
        """Stop, and remove the folder if it is a temporary one."""
        self.stop()
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> LocalNifi:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.remove()

    def last_words(self, lines: int = 10) -> str:
        """The last lines of the log that name a problem, else the last lines, with what the JVM itself has printed."""
        app = _tail(self.log_path)
        problems = [line for line in app if re.search(r" (ERROR|WARN) \[|Exception|Caused by", line)]
        console = _tail(self.folder / "logs" / "console.log")[-5:]
        shown = [line[:300] for line in dict.fromkeys(problems or app)]
        return "\n".join([*shown[-lines:], *console, f"(log: {self.log_path})"])

    def client(self) -> httpx.Client:
        """A client of the REST API (`client.get("/flow/about")`); with HTTPS it uses the client certificate."""
        verify: ssl.SSLContext | bool = True
        if self.tls is not None:
            verify = ssl.create_default_context(cafile=str(self.tls.ca))
            verify.load_cert_chain(self.tls.client_certificate, self.tls.client_key)
        return httpx.Client(base_url=f"{self.url}/nifi-api", verify=verify, timeout=60, trust_env=False)

    def python_processes(self) -> list[PythonProcess]:
        """NiFi's Python processes, by what is known of them from the log."""
        import psutil

        if self.pid is None:
            return []
        served = _ProcessLog(self._log_lines())
        processes = []
        try:
            children = psutil.Process(self.pid).children()
        except psutil.NoSuchProcess:
            return []
        for child in children:
            try:
                environment = child.environ()
            except psutil.Error:  # it has ended meanwhile
                continue
            port = environment.get("JAVA_PORT", "")
            if port:
                processes.append(
                    PythonProcess(child.pid, served.type(child.pid, port), served.processor(child.pid, port))
                )
        return sorted(processes, key=lambda process: process.pid)

    # --- before a start -----------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        conf = self.folder / "conf"
        if not (conf / "nifi.properties").is_file():
            shutil.copytree(self.home / "conf", conf, dirs_exist_ok=True)
        for name in ("logs", "extensions", "python/extensions", "work"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for entry in self.home.iterdir():
            # NiFi makes the rest itself, and what an installation that was used has made is not ours.
            if entry.name in ("bin", "lib", "docs"):
                _link(self.folder / entry.name, entry)
        for name in ("api", "framework"):
            _link(self.folder / "python" / name, self.home / "python" / name)
        properties = read_properties(conf / "nifi.properties")
        last_port = properties.get("nifi.web.https.port" if self._https else "nifi.web.http.port", "")
        if (
            not self.port
            and last_port.isdecimal()
            and properties.get("imagewarehouse.local")
            and is_free(int(last_port))
        ):
            self.port = int(last_port)
        port, self._management, balance = free_ports(3, besides=[self.port] if self.port else ())
        self.port = self.port or port
        if self._https and self.tls is None:
            self.tls = make_certificates(self.folder / "tls")
        write_properties(conf / "nifi.properties", {**self._adapted(properties, balance), **self._properties})

    def _adapted(self, properties: Mapping[str, str], balance: int) -> dict[str, str | None]:
        """What differs from the installation's nifi.properties."""
        tls = self.tls
        secured = {
            "nifi.security.keystoreType": "PEM",
            "nifi.security.keystore.certificate": str(tls.certificate),
            "nifi.security.keystore.privateKey": str(tls.key),
            "nifi.security.truststoreType": "PEM",
            "nifi.security.truststore.certificate": str(tls.ca),
        } if tls else {}  # fmt: skip
        security = (
            "keystore", "keystoreType", "keystorePasswd", "keyPasswd", "keystore.certificate", "keystore.privateKey",
            "truststore", "truststoreType", "truststorePasswd", "truststore.certificate",
        )  # fmt: skip
        return {
            **read_properties(SHIPPED_PROPERTIES),  # what is tested is what users are told to set
            **{f"nifi.security.{name}": "" for name in security},
            **secured,
            "imagewarehouse.local": "true",  # so that a later start in this folder keeps the port
            "nifi.web.http.host": "" if tls else HOST,
            "nifi.web.http.port": "" if tls else str(self.port),
            "nifi.web.https.host": HOST if tls else "",
            "nifi.web.https.port": str(self.port) if tls else "",
            "nifi.remote.input.host": HOST,
            "nifi.remote.input.secure": str(bool(tls)).lower(),
            "nifi.remote.input.socket.port": "",
            "nifi.cluster.is.node": "false",
            "nifi.cluster.load.balance.host": HOST,
            "nifi.cluster.load.balance.port": str(balance),
            "nifi.sensitive.props.key": properties.get("nifi.sensitive.props.key") or secrets.token_hex(16),
            "nifi.python.command": self.python,
            "nifi.python.framework.source.directory": "./python/framework",
            "nifi.python.extensions.source.directory.default": "./python/extensions",
            "nifi.python.working.directory": "./work/python",
            "nifi.flow.configuration.archive.enabled": "false",
        }

    # --- running it ---------------------------------------------------------------------------------------------------

    def _command(self) -> list[str]:
        """As bin/nifi.sh starts it, without the second JVM that watches it."""
        jars = sorted(str(path) for path in (self.folder / "lib").glob("*.jar"))
        arguments = [
            value
            for key, value in sorted(read_properties(self.folder / "conf" / "bootstrap.conf").items())
            if key.startswith("java.arg.") and not value.startswith(("-Xms", "-Xmx"))
        ]
        if self.java_version < _UNPINNED_JAVA:
            # Initialising Python processors, each on a virtual thread, holds locks: with as many of them as cores, all
            # carrier threads wait and NiFi never comes up (NIFI-15698).
            arguments.append("-Djdk.virtualThreadScheduler.parallelism=32")
        return [
            str(self.java),
            "--class-path",
            os.pathsep.join([*jars, str(self.folder / "conf")]),
            f"-Dorg.apache.nifi.bootstrap.config.log.dir={self.folder / 'logs'}",
            f"-Dorg.apache.nifi.bootstrap.config.file={self.folder / 'conf' / 'bootstrap.conf'}",
            f"-Dnifi.properties.file.path={self.folder / 'conf' / 'nifi.properties'}",
            f"-Dorg.apache.nifi.management.server.address={HOST}:{self._management}",
            f"-Xms{self._heap}",
            f"-Xmx{self._heap}",
            *arguments,
            *self._jvm_options,
            "org.apache.nifi.NiFi",
        ]

    def _launch(self) -> None:
        with (self.folder / "logs" / "console.log").open("ab") as console:
            self._keeper = subprocess.Popen(  # noqa: S603
                [sys.executable, "-I", "-S", "-c", _KEEPER, *self._command()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=console,
                cwd=self.folder,
                env={**os.environ, "NIFI_HOME": str(self.folder), **self._environment},
                start_new_session=True,  # Ctrl-C is for us, and the group can be ended as a whole
            )
        assert self._keeper.stdout is not None
        self.pid = int(self._keeper.stdout.readline() or b"0") or None

    def _wait(self, until: float, timeout: float) -> None:
        """Until it answers; 401 is an answer, it only wants to know who asks."""
        verify: ssl.SSLContext | bool = True
        if self.tls is not None:
            verify = ssl.create_default_context(cafile=str(self.tls.ca))
        with httpx.Client(verify=verify, trust_env=False, timeout=10) as client:
            while True:
                if not self.running:
                    raise ConfigurationError(_SETTING, f"NiFi has ended while it started:\n{self.last_words()}")
                with suppress(httpx.TransportError):
                    answer = client.get(f"{self.url}/nifi-api/flow/about")
                    if answer.status_code in (200, 401):
                        break
                if time.monotonic() > until:
                    raise ConfigurationError(
                        _SETTING, f"NiFi did not answer within {timeout:g} s:\n{self.last_words()}"
                    )
                time.sleep(0.1)
        if self._https and not self.password:
            for line in self._log_lines():
                match = re.match(r"Generated (Username|Password) \[(.+)\]", line)
                if match:
                    setattr(self, match[1].lower(), match[2])

    def _reset(self) -> None:
        assert self._keeper is not None
        for stream in (self._keeper.stdin, self._keeper.stdout):
            if stream is not None:
                stream.close()
        self._keeper, self.pid = None, None

    def _log_lines(self) -> Iterator[str]:
        """Of all of nifi-app.log, which NiFi begins anew every hour."""
        paths = sorted(self.log_path.parent.glob("nifi-app*.log"), key=lambda path: path.stat().st_mtime)
        for path in paths:
            with path.open(encoding="utf-8", errors="replace") as lines:
                yield from lines


class _ProcessLog:
    """The Python processes that NiFi's log names.

    NiFi starts a process on a thread called `Initialize TYPE`, where it writes down the port that the process is to call,
    and on a thread of any name where it replaces one that has died, after it has written whom it served.
    """

    def __init__(self, lines: Iterator[str]) -> None:
        self._type_by_port: dict[str, str] = {}
        self._id_by_port: dict[str, str] = {}
        self._ids: dict[str, list[str]] = {}  # processors loaded, by type
        last_by_thread: dict[str, tuple[str | None, str | None]] = {}  # (type, processor) that a thread last spoke of
        for line in lines:
            thread = re.match(r"\S+ \S+ \w+ +\[(.*?)\] \S", line)
            if thread is None:
                continue
            name = thread[1]
            if match := re.match(r"Initialize (\w+)$", name):
                last_by_thread[name] = (match[1], None)
            if match := re.search(r"In order to create Python Processor of type (\w+)", line):
                last_by_thread[name] = (match[1], None)
            elif match := re.search(r"with Processors \[([\w-]+) \((\w+)\)\] died unexpectedly", line):
                last_by_thread[name] = (match[2], match[1])
            elif match := re.search(
                r"Launching Python Process .*/controller to communicate with Java on Port (\d+)", line
            ):
                # NiFi starts: those of its last run are gone, and their ports may be anybody's.
                self._type_by_port, self._id_by_port, self._ids = {match[1]: "Controller"}, {}, {}
            elif match := re.search(r"Launching Python Process .* to communicate with Java on Port (\d+)", line):
                kind, processor = last_by_thread.get(name, (None, None))
                if kind:
                    self._type_by_port[match[1]] = kind
                if processor:
                    self._id_by_port[match[1]] = processor
            elif match := re.search(r"Successfully loaded Python Processor ([\w-]+) \((\w+)\)", line):
                ids = self._ids.setdefault(match[2], [])
                if match[1] not in ids:
                    ids.append(match[1])

    def type(self, pid: int, port: str) -> str | None:
        return self._type_by_port.get(port)

    def processor(self, pid: int, port: str) -> str | None:
        ids = self._ids.get(self._type_by_port.get(port, ""), [])
        return self._id_by_port.get(port) or (ids[0] if len(ids) == 1 else None)


def make_certificates(folder: Path) -> Tls:
    """A certificate authority, and certificates of it for 127.0.0.1 and for a client; made once, valid for ten years."""
    folder.mkdir(parents=True, exist_ok=True)
    tls = Tls(*(folder / name for name in ("ca.pem", "server.pem", "server.key", "client.pem", "client.key")))
    if all(path.is_file() for path in (tls.ca, tls.certificate, tls.key, tls.client_certificate, tls.client_key)):
        return tls
    authority = folder / "ca.key"
    _openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "3650", "-subj", "/CN=local-nifi-ca",
             "-keyout", authority, "-out", tls.ca, "-addext", "basicConstraints=critical,CA:TRUE",
             "-addext", "keyUsage=critical,keyCertSign,cRLSign")  # fmt: skip
    names = f"subjectAltName=DNS:localhost,IP:{HOST}"
    for subject, certificate, key, extension in (
        ("/CN=localhost", tls.certificate, tls.key, names),
        ("/CN=deployer", tls.client_certificate, tls.client_key, "extendedKeyUsage=clientAuth"),
    ):
        request, extensions = folder / "request.csr", folder / "extensions"
        extensions.write_text(f"{extension}\n", encoding="utf-8")
        _openssl(folder, "req", "-newkey", "rsa:2048", "-noenc", "-subj", subject, "-keyout", key, "-out", request)
        _openssl(folder, "x509", "-req", "-in", request, "-CA", tls.ca, "-CAkey", authority, "-CAcreateserial",
                 "-days", "3650", "-extfile", extensions, "-out", certificate)  # fmt: skip
    return tls


def _openssl(folder: Path, *arguments: str | Path) -> None:
    program = shutil.which("openssl")
    if program is None:
        raise ConfigurationError("openssl", "is needed to make certificates, and is not on the PATH")
    done = subprocess.run([program, *map(str, arguments)], cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise ConfigurationError("openssl", f"{arguments[0]} failed: {done.stderr.strip()[-300:]}")


def read_properties(path: Path) -> dict[str, str]:
    """Of a Java properties file as NiFi ships it: no escapes, no values over several lines."""
    properties = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        key, equals, value = line.strip().partition("=")
        if equals and not key.startswith(("#", "!")):
            properties[key.strip()] = value.strip()
    return properties


def write_properties(path: Path, values: Mapping[str, str | None]) -> None:
    """Set values where their keys stand, commented out or not; others are put at the end. None comments a key out."""
    pending = {key: value for key, value in values.items() if value is not None}
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        key = line.partition("=")[0].strip(" #")
        if "=" in line and key in pending:
            lines.append(f"{key}={pending.pop(key)}")
        elif not ("=" in line and key in values):
            lines.append(line)
        elif values[key] is None:  # and a second line of a key that is set would win
            lines.append(f"#{line.lstrip('# ')}")
    lines += [f"{key}={value}" for key, value in pending.items()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _link(name: Path, target: Path) -> None:
    if name.is_symlink():
        name.unlink()
    name.symlink_to(target)


def _tail(path: Path, size: int = 50_000) -> list[str]:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - size))
            return file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.local_nifi", description=str(__doc__).split("\n\n")[0])
    parser.add_argument("--folder", type=Path, help="keep everything there; default: a temporary folder")
    parser.add_argument("--home", type=Path, help="NiFi's folder; default: NIFI_HOME")
    parser.add_argument("--python", default=sys.executable, help="Python of the processors (3.10, 3.11 or 3.12)")
    parser.add_argument("--port", type=int, help="default: any free one")
    parser.add_argument("--heap", default="1g")
    parser.add_argument("--https", action="store_true", help="with a user and a password")
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options: dict[str, Any] = {"home": chosen.home, "python": chosen.python, "port": chosen.port, "heap": chosen.heap}
    try:
        nifi = LocalNifi(chosen.folder, https=chosen.https, **options)
    except ConfigurationError as err:
        print(f"local_nifi: {err}", file=sys.stderr)
        return 2
    try:
        began = time.monotonic()
        nifi.start()
        print(f"{nifi.url}/nifi  (up after {time.monotonic() - began:.0f} s; log: {nifi.log_path})", flush=True)
        if nifi.tls is not None:
            print(f"user {nifi.username}, password {nifi.password}, authority {nifi.tls.ca}", flush=True)
        while nifi.running:
            time.sleep(0.5)
        print(f"local_nifi: NiFi has ended:\n{nifi.last_words()}", file=sys.stderr)
        return 1
    except ConfigurationError as err:
        print(f"local_nifi: {err}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopping", flush=True)
        return 0
    finally:
        nifi.remove()


if __name__ == "__main__":
    sys.exit(main())
