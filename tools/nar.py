"""`python -m tools.nar`: packs the processors, the core, the model and every library they import into one NAR.

The same input gives the same bytes: libraries come from requirements.lock with their hashes, entries are sorted and
carry neither times nor the modes of this machine, and what an installer writes about its own run stays out.
`docs/nar.md` has the layout and the reasons.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import click

from imagewarehouse import __version__
from imagewarehouse.amounts import file_size
from imagewarehouse.checksums import file_sha256
from imagewarehouse.errors import ConfigurationError
from imagewarehouse.models.manifest import LITERT, MANIFEST, TENSORFLOW
from imagewarehouse.nifi.bundle import MARKER
from imagewarehouse.resources import REPOSITORY
from tools.artifacts import HELPER, of_set

GROUP, IDENTIFIER = "imagewarehouse", "image-warehouse-nar"
"""Both variants carry these, so that one replaces the other: NiFi would take types of two NARs for one another."""

LIBRARIES = "NAR-INF/bundled-dependencies"  # NiFi's name, and what tells it that nothing has to be installed
PYTHONS = ("3.10", "3.11", "3.12")
# Which wheels to take. manylinux_2_28: glibc of 2018 and later, which every distribution with Python 3.10 has.
PLATFORMS = {"linux-x86_64": "x86_64-manylinux_2_28", "linux-aarch64": "aarch64-manylinux_2_28"}
# The variants, with the extras of pyproject.toml and the runtimes of models that each has.
# Clients of stores that most NiFis have no use for, as extras of pyproject.toml.
STORES = ("hdfs", "hbase")
VARIANTS = {"core": (("nar",), (LITERT,)), "tensorflow": (("nar", "training"), (LITERT, TENSORFLOW))}
HEIC = "heic"  # the extra with its decoder

_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can say
_LINE = 72  # bytes; java.util.jar takes longer lines only in pieces, and NiFi's Python side only whole ones
_HASH = 24  # digits; with them the line of the version and the hash stays within that
_BLOCK = 1 << 20
_TELL_S = 5.0

DROPPED = (
    # what the installer writes about itself and this machine
    ("bin/*", "console scripts: they name the Python of the machine that packed"),
    ("*.dist-info/RECORD", "lists the files as they were installed, with what is dropped here"),
    ("*.dist-info/INSTALLER", "who installed"),
    ("*.dist-info/REQUESTED", "who installed"),
    ("*.dist-info/uv_cache.json", "times of the machine that packed"),
    (".lock", "of the installer"),
    ("*.pth", "NiFi runs Python with -S, which reads none"),
    # what compilers, type checkers and test runners read
    ("*.pyi", "stubs of types"),
    ("*-stubs/*", "stubs of types"),
    ("*/tests/*", "tests of the libraries, with their data"),
    ("*.h", "headers"),
    ("*.hpp", "headers"),
    ("*.inc", "headers"),
    ("*.a", "static libraries"),
    ("*.pxd", "sources of extension modules"),
    ("*.pxi", "sources of extension modules"),
    ("*.pyx", "sources of extension modules"),
    ("numpy/_core/include/*", "headers"),
    ("numpy/distutils/*", "builds extension modules"),
    ("numpy/f2py/*", "compiles Fortran"),
    ("pyarrow/include/*", "headers"),
    ("pyarrow/src/*", "sources of extension modules"),
    # one library under three names: the loader asks for libarrow_python.so.2600 alone
    ("pyarrow/libarrow_python*.so", "a second copy, for linkers"),
    ("pyarrow/lib*.so.*.*.*", "a third copy"),
    # parts that no processor reaches; what pyarrow.lib is linked against has to stay
    ("pyarrow/*flight*", "Arrow Flight, a network protocol: 11 MB"),
    ("pyarrow/_pyarrow_cpp_tests*", "tests of the libraries"),
    ("ai_edge_litert/libLiteRtWebGpuAccelerator.so", "graphics cards, of another interface than the interpreter: 7 MB"),
    ("ai_edge_litert/aot/*", "compiles models for phones"),
    ("ai_edge_litert/tools/*", "compiles models for phones: 3 MB"),
    ("ai_edge_litert/vendors/*", "compiles models for phones"),
)
DROPPED_FROM_TENSORFLOW = (
    ("tensorflow/include/*", "headers"),
    ("tensorflow/xla_aot_runtime_src/*", "sources of extension modules"),
    ("clang/*", "reads C++ for generators of code"),
    ("libclang-*", "reads C++ for generators of code"),
    ("setuptools/*", "builds packages"),
    ("setuptools-*", "builds packages"),
    ("_distutils_hack/*", "builds packages"),
    ("wheel/*", "builds packages"),
    ("wheel-*", "builds packages"),
)
"""Files of libraries that stay out, as patterns over their paths, each with its reason. Never licences."""

_OURS = "META-INF/LICENSE"
# Of wheels without a text of their licence: where ours of it is.
WHEEL_LICENCES = {"obstore": "META-INF/licences/obstore.txt", "ply": "META-INF/licences/ply.txt"}
_INSIDE = "inside the jar, META-INF/LICENSE.txt and META-INF/NOTICE.txt"
# Jars say their licence in different places or not at all: (licence, where its text is).
JAR_LICENCES = {
    "async": ("BSD-3-Clause", "META-INF/licences/async.txt"),
    "audience-annotations": ("Apache-2.0", "inside the jar, META-INF/LICENSE and META-INF/NOTICE"),
    "jsr305": ("Apache-2.0", _OURS),
    "kudu-client": ("Apache-2.0, parts of it under the others named there", _INSIDE),
    "slf4j-api": ("MIT", "META-INF/licences/slf4j.txt"),
    "slf4j-nop": ("MIT", "META-INF/licences/slf4j.txt"),
}

# Libraries that a wheel has inside, under another licence than its own: (licence, where its source is).
INSIDE_LICENCES = {
    "libheif": ("LGPL-3.0-or-later", "https://github.com/strukturag/libheif"),
    "libde265": ("LGPL-3.0-or-later", "https://github.com/strukturag/libde265"),
}
_LGPL = ("lgpl-3.0.txt", "gpl-3.0.txt")  # the first adds to the second

# Of the package, what is around NiFi and not in it.
_OTHER_ROOMS = frozenset({"analytics", "cli", "deployment", "flows", "getting", "sending", "standalone", "training"})
_STAND_IN = "stand_in"  # a `nifiapi` beside NiFi's own would be one too many

Content = bytes | Path


@dataclass(frozen=True, slots=True)
class Target:
    """What a NAR is for."""

    python: str = "3.11"
    platform: str = "linux-x86_64"
    variant: str = "core"
    stores: tuple[str, ...] = ()
    heic: bool = True

    def __post_init__(self) -> None:
        for store in self.stores:
            if store not in STORES:
                raise ConfigurationError("--stores", f"expected some of {', '.join(STORES)}, received {store!r}")
        for name, value, known in (("python", self.python, PYTHONS), ("platform", self.platform, PLATFORMS),
                                   ("variant", self.variant, VARIANTS)):  # fmt: skip
            if value not in known:
                raise ConfigurationError(f"--{name}", f"expected one of {', '.join(known)}, received {value!r}")

    @property
    def filename(self) -> str:
        """As wheels are named, because it is those that make a NAR one for a certain Python and machine."""
        name = "image-warehouse" if self.variant == "core" else f"image-warehouse-{self.variant}"
        if not self.heic:
            name += "-no-heic"
        tags = f"cp{self.python.replace('.', '')}-{self.platform.replace('-', '_')}"
        return f"{name}-{__version__}-{tags}.nar"

    @property
    def extras(self) -> Sequence[str]:
        """Of pyproject.toml, whose libraries go in."""
        return (*VARIANTS[self.variant][0], *self.stores, *((HEIC,) if self.heic else ()))

    @property
    def runtimes(self) -> Sequence[str]:
        return VARIANTS[self.variant][1]

    @property
    def rules(self) -> Sequence[tuple[str, str]]:
        return DROPPED + DROPPED_FROM_TENSORFLOW if self.variant == "tensorflow" else DROPPED

    def __str__(self) -> str:
        heic = () if self.heic else ("without HEIC",)
        return ", ".join((f"Python {self.python} on {self.platform}", self.variant, *self.stores, *heic))


def pack(target: Target, output: Path, repository: Path = REPOSITORY) -> Path:
    """The NAR in that folder. Raises ConfigurationError (what is missing, or cannot be installed), OSError."""
    entries = own_files(target, repository)
    with tempfile.TemporaryDirectory(prefix="nar-") as temporary:
        folder = Path(temporary) / "libraries"
        click.echo(f"installing the libraries of {target}")
        install(read_requirements(repository / "pyproject.toml", target.extras), target, folder)
        entries |= {f"{LIBRARIES}/{name}": path for name, path in library_files(folder, target)}
        entries["META-INF/DEPENDENCIES"] = dependencies(target, entries).encode()
        facts = {name: _size_and_hash(content) for name, content in entries.items()}
        click.echo(f"packing {len(entries) + 1} files, {file_size(sum(size for size, _ in facts.values()))}")
        output.mkdir(parents=True, exist_ok=True)
        # Java looks for the manifest at the start of a stream, and that is how NiFi reads what is uploaded.
        ordered = {"META-INF/MANIFEST.MF": manifest(content_hash(facts)), **dict(sorted(entries.items()))}
        path, unfinished = output / target.filename, output / f".{target.filename}"
        try:
            with telling("packing", lambda: unfinished.stat().st_size):
                write(ordered, unfinished)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    return path


# --- contents -------------------------------------------------------------------------------------------------


def own_files(target: Target, repository: Path = REPOSITORY) -> dict[str, Content]:
    """Processors as root modules, the core with Kudu's client, models, licences: by their names in the NAR.

    Raises ConfigurationError when `make kudu` has not been run, or a model has no runtime in this variant.
    """
    contents: dict[str, Content] = {path.name: path for path in (repository / "processors").glob("*.py")}
    core = repository / "imagewarehouse"
    contents |= {
        path.relative_to(repository).as_posix(): path for path in core.rglob("*.py") if _is_of_processors(path, core)
    }
    contents |= {path.relative_to(repository).as_posix(): path for path in _jars(core / "kudu" / "jars")}
    marker = {"python": target.python, "platform": target.platform, "variant": target.variant}
    contents[f"imagewarehouse/{MARKER.name}"] = json.dumps(marker).encode()
    for path in (repository / "model").glob(f"*/*/{MANIFEST}"):
        contents |= {f"{path.parent.relative_to(repository).as_posix()}/{name}": content
                  for name, content in _model_files(path.parent, target.runtimes).items()}  # fmt: skip
    contents[_OURS] = repository / "LICENSE"
    contents |= {
        f"META-INF/licences/{path.name}": path
        for path in (repository / "tools" / "licences").glob("*.txt")
        if target.heic or path.name not in _LGPL
    }
    return contents


def _is_of_processors(path: Path, core: Path) -> bool:
    parts = path.relative_to(core).parts
    return parts[0] not in _OTHER_ROOMS and _STAND_IN not in parts


def _jars(folder: Path) -> list[Path]:
    """Kudu's client and our classes for it, exactly those of the lock."""
    locked = {artifact.filename: artifact.sha256 for artifact in of_set("kudu-client")}
    for name, sha256 in locked.items():
        if not (folder / name).is_file() or _size_and_hash(folder / name)[1] != sha256:
            raise ConfigurationError("imagewarehouse/kudu/jars", f"{name} is missing or damaged; run `make kudu`")
    if not (folder / HELPER).is_file():
        raise ConfigurationError("imagewarehouse/kudu/jars", f"{HELPER} is missing; run `make kudu`")
    return [folder / name for name in (*locked, HELPER)]


def _model_files(folder: Path, runtimes: Sequence[str]) -> dict[str, Content]:
    """One version of a model with what is served from here and its report; its manifest names no other files."""
    described = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    described["runtimes"] = {name: file for name, file in described["runtimes"].items() if name in runtimes}
    if not described["runtimes"]:
        raise ConfigurationError(f"model {described['name']} {described['version']}", "no runtime of it is bundled")
    served = {*described["runtimes"].values(), described["labels"]}
    for facts in (described["sha256"], described.get("exports", {})):
        for file in set(facts) - served:
            del facts[file]
    files = [*(folder / file for file in served), *(p for p in (folder / "report").rglob("*") if p.is_file())]
    contents: dict[str, Content] = {path.relative_to(folder).as_posix(): path for path in sorted(files)}
    return {**contents, MANIFEST: (json.dumps(described, indent=2, ensure_ascii=False) + "\n").encode()}


def read_requirements(pyproject: Path, extras: Sequence[str]) -> list[str]:
    """What those extras ask for, as pyproject.toml says it."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        from pip._vendor import tomli as tomllib  # the same module, which Python 3.10 has only inside pip
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    return [requirement for extra in extras for requirement in project["optional-dependencies"][extra]]


def install(requirements: Sequence[str], target: Target, folder: Path, lock: Path | None = None) -> None:
    """The wheels of the lock for that target, whatever Python runs this. Raises ConfigurationError with uv's reason."""
    try:
        from uv import find_uv_bin
    except ImportError as err:
        raise ConfigurationError("uv", "is not installed, and it fetches the libraries; run `make nar`") from err
    # uv takes hashes from a constraints file only for the requirements of a project, so this is one.
    project = folder.parent / "project" / "pyproject.toml"
    project.parent.mkdir()
    project.write_text(f'[project]\nname = "nar"\nversion = "0"\ndependencies = {json.dumps(list(requirements))}\n')
    command: list[str | Path] = [
        find_uv_bin(), "pip", "install", "--quiet", "--python", sys.executable, "--target", folder,
        "--python-version", target.python, "--python-platform", PLATFORMS[target.platform], "--only-binary", ":all:",
        "--no-compile-bytecode", "--require-hashes", "--constraint", lock or REPOSITORY / "requirements.lock",
        "--requirement", project,
    ]  # fmt: skip
    with telling("installing", lambda: _folder_size(folder)):
        # In the repository, because uv takes overrides of what libraries ask for from the project that it is started in.
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)  # noqa: S603
    if done.returncode != 0:
        reason = re.sub(r"[^!-~]+", " ", done.stderr).strip().removeprefix("error: ")
        raise ConfigurationError(f"libraries of {target}", reason[:600])


def library_files(folder: Path, target: Target) -> Iterator[tuple[str, Path]]:
    """What was installed, by its path in there, without what `DROPPED` names."""
    for path in folder.rglob("*"):
        if path.is_file() and why_dropped(name := path.relative_to(folder).as_posix(), target) is None:
            yield name, path


def why_dropped(name: str, target: Target) -> str | None:
    """Why that file of a library stays out; None where it goes in."""
    licence = re.search(r"\.dist-info/(.*/)?(licen[cs]e|copying|notice|authors)", name, re.IGNORECASE)
    for pattern, reason in target.rules:
        # A licence goes where its distribution goes, also from a folder `include` or with a name like `LICENSE.h`.
        if fnmatchcase(name, pattern) and (licence is None or not pattern.startswith("*")):
            return reason
    return None


# --- metadata -----------------------------------------------------------------------------------------------------


def dependencies(target: Target, entries: Mapping[str, Content]) -> str:
    """META-INF/DEPENDENCIES: name, version, licence and the place of its text, of everything that others wrote.

    Raises ConfigurationError naming a distribution or jar without a licence.
    """
    components = []
    for name in sorted(entries):
        if name.endswith(".dist-info/METADATA"):
            components.append(_distribution(name.removesuffix("METADATA"), entries))
        elif name.endswith(".jar") and not name.startswith(LIBRARIES) and not name.endswith(HELPER):
            components.append(_jar(name))
        elif inside := re.search(rf"/({'|'.join(INSIDE_LICENCES)})-[0-9a-f]+\.so[.\d]*$", name):
            licence, source = INSIDE_LICENCES[inside[1]]
            texts = ", ".join(f"META-INF/licences/{text}" for text in _LGPL)
            components.append((f"{inside[1]} ({name}), source: {source}", licence, texts))
    head = f"What imagewarehouse {__version__} ({target}) bundles of others; its own licence is {_OURS}.\n"
    return head + "".join(
        f"\n{component}\n  licence: {licence}\n  text: {where}\n" for component, licence, where in components
    )


def _distribution(folder: str, entries: Mapping[str, Content]) -> tuple[str, str, str]:
    """(name and version, licence, where its text is) of a folder *.dist-info."""
    path = entries[f"{folder}METADATA"]
    assert isinstance(path, Path)
    metadata = importlib.metadata.Distribution.at(path.parent).metadata
    component = f"{metadata['Name']} {metadata['Version']}"
    texts = [
        name
        for name in entries
        if name.startswith(folder) and re.search("licen[cs]e|copying", name[len(folder) :].lower())
    ]
    licence = _stated(metadata) or ("see its text" if texts else "")
    if texts:
        inside = {name[len(folder) :].partition("/")[0] for name in texts}
        return component, licence, ", ".join(f"{folder}{name}" for name in sorted(inside))
    if metadata["Name"] in WHEEL_LICENCES:
        return component, licence, WHEEL_LICENCES[metadata["Name"]]
    if "apache" not in licence.lower():
        raise ConfigurationError(
            component, f"has no text of its licence ({licence or 'not stated'}); put it into tools/licences"
        )
    return component, licence, _OURS


def _stated(metadata: Any) -> str:
    """The licence in one line, from the newest of the fields that a distribution may state it in."""
    expression, name = metadata.get("License-Expression"), metadata.get("License")
    if expression or (name and "\n" not in name.strip()):
        return str(expression or name).strip()
    classifiers = [value for value in metadata.get_all("Classifier") or () if value.startswith("License :: ")]
    return ", ".join(value.rpartition(" :: ")[2] for value in classifiers)


def _jar(name: str) -> tuple[str, str, str]:
    [artifact] = [a for a in of_set("kudu-client") if name.endswith(f"/{a.filename}")]
    if artifact.name not in JAR_LICENCES:
        raise ConfigurationError(str(artifact), "tools/nar.py does not say its licence")
    licence, where = JAR_LICENCES[artifact.name]
    return f"{artifact.name} {artifact.version} ({name})", licence, where


def content_hash(facts: Mapping[str, tuple[int, str]]) -> str:
    """One sha256 over (size, sha256) of every entry but the manifest: what is in a NAR, however it is compressed."""
    lines = [f"{name} {size} {sha256}\n" for name, (size, sha256) in sorted(facts.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def manifest(content: str) -> bytes:
    """META-INF/MANIFEST.MF. NiFi's REST answer shows Created-By as `createdBy`, which tells what is installed."""
    values = {
        "Manifest-Version": "1.0",
        "Created-By": f"imagewarehouse {__version__} sha256:{content[:_HASH]}",
        "Nar-Group": GROUP,
        "Nar-Id": IDENTIFIER,
        "Nar-Version": __version__,
    }
    lines = [f"{name}: {value}".encode() for name, value in values.items()]
    for line in lines:
        if len(line) > _LINE:
            raise ConfigurationError("META-INF/MANIFEST.MF", f"a line may have {_LINE} bytes: {line.decode()}")
    return b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def write(entries: Mapping[str, Content], path: Path) -> None:
    """A zip of those entries, in their order."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as nar:
        for name, content in entries.items():
            info = zipfile.ZipInfo(name, _TIME)
            info.create_system, info.external_attr, info.compress_type = 3, 0o100644 << 16, zipfile.ZIP_DEFLATED
            if isinstance(content, bytes):
                nar.writestr(info, content)
                continue
            info.file_size = content.stat().st_size  # decides on the format of large entries before they are read
            with content.open("rb") as source, nar.open(info, "w") as target:
                shutil.copyfileobj(source, target, _BLOCK)


@contextmanager
def telling(doing: str, size: Callable[[], int]) -> Iterator[None]:
    """Say every few seconds on standard error that something goes on, and how much is there: it can take minutes."""
    done, began = threading.Event(), time.monotonic()

    def tell() -> None:
        while not done.wait(_TELL_S):
            with suppress(OSError):  # the file is not there yet, or a temporary one has just gone
                there = size()  # nothing while uv downloads
                so_far = f", {file_size(there)} so far" if there else ""
                click.echo(f"  still {doing} after {time.monotonic() - began:.0f} s{so_far}", err=True)

    thread = threading.Thread(target=tell, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _folder_size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def _size_and_hash(content: Content) -> tuple[int, str]:
    if isinstance(content, bytes):
        return len(content), hashlib.sha256(content).hexdigest()
    return content.stat().st_size, file_sha256(content)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--python", type=click.Choice(PYTHONS), default="3.11", show_default=True, help="Python that NiFi runs.")
@click.option("--platform", type=click.Choice(list(PLATFORMS)), default="linux-x86_64", show_default=True,
              help="Machine that NiFi runs on.")  # fmt: skip
@click.option("--variant", type=click.Choice(list(VARIANTS)), default="core", show_default=True,
              help="tensorflow also serves models without a LiteRT file.")  # fmt: skip
@click.option(
    "--stores", default="", metavar="NAMES", help=f"Also the clients of: {', '.join(STORES)}; separated by commas."
)
@click.option("--heic/--no-heic", default=True, show_default=True,
              help="With the decoder of HEIC, parts of which are under the LGPL.")  # fmt: skip
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default="dist", show_default=True,
              help="Folder for the NAR.")  # fmt: skip
def main(python: str, platform: str, variant: str, stores: str, heic: bool, output: Path) -> None:
    """Pack the processors and all they import into a NAR, to be uploaded to NiFi's NAR manager.

    Runs on any machine: the libraries are those of the target Python and platform.

    Exit codes: 0 done, 1 something is missing or could not be fetched, 2 wrong usage.
    """
    try:
        wanted = tuple(sorted({name for part in stores.split(",") if (name := part.strip())}))
        path = pack(Target(python, platform, variant, wanted, heic), output)
        size, sha256 = _size_and_hash(path)
        click.echo(f"{path}  {file_size(size)}  sha256:{sha256}")
    except (ConfigurationError, OSError) as err:
        click.echo(f"tools.nar: {err}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
