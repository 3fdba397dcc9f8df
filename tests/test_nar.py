"""The packed NAR: what is in it, that two of them are the same, and that NiFi's way of running it works.

IMAGEWAREHOUSE_NAR_VARIANT=tensorflow tests that variant instead; packing it twice takes some minutes.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner

from imagewarehouse import __version__
from imagewarehouse.errors import ConfigurationError
from imagewarehouse.models.manifest import BUNDLED_MODEL, find_version, read_manifest
from imagewarehouse.resources import PROCESSORS, REPOSITORY
from imagewarehouse.resources import STAND_IN as API
from tools import artifacts, nar
from tools.nar import LIBRARIES, Target, pack, telling, why_dropped

TYPES = sorted(path.stem for path in PROCESSORS.glob("*.py"))
RUNNING = f"{sys.version_info[0]}.{sys.version_info[1]}"
MANIFEST = "META-INF/MANIFEST.MF"
VARIANT = os.environ.get("IMAGEWAREHOUSE_NAR_VARIANT", "core")
# Bytes: what one wants to upload to each node of a cluster, and what NiFi takes at all.
LARGEST = {"core": 150_000_000, "tensorflow": 1_000_000_000}[VARIANT]
CORE = Target()


@pytest.fixture(scope="module")
def target() -> Target:
    platform = sysconfig.get_platform()
    if platform not in nar.PLATFORMS:
        pytest.skip(f"NARs are for {' and '.join(nar.PLATFORMS)}, and this is {platform}")
    return Target(RUNNING, platform, VARIANT)


@pytest.fixture(scope="module")
def packed(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The NAR for this Python and machine, packed by the command with settings of its own, and what that printed."""
    folder = tmp_path_factory.mktemp("nar")
    command = [sys.executable, "-m", "tools.nar", "--python", RUNNING, "--platform", target.platform,
               "--variant", VARIANT, "--output", folder]  # fmt: skip
    other = {**os.environ, "TZ": "Asia/Tokyo", "LC_ALL": "C", "TMPDIR": str(folder), "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        command, cwd=REPOSITORY, env=other, umask=0o077, stdout=subprocess.PIPE, text=True, check=True
    )
    [path] = folder.glob("*.nar")
    yield path, done.stdout
    shutil.rmtree(folder)  # pytest would keep it for three more runs


@pytest.fixture(scope="module")
def archive(packed: tuple[Path, str]) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(packed[0]) as opened:
        yield opened


@pytest.fixture(scope="module")
def unpacked(archive: zipfile.ZipFile, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The NAR as NiFi unpacks it."""
    work = tmp_path_factory.mktemp("work")
    folder = work / "image-warehouse-nar-unpacked"
    archive.extractall(folder)
    yield folder
    shutil.rmtree(work)


@pytest.fixture(scope="module")
def nifi() -> Path | None:
    """The python folder of an installed NiFi."""
    path = Path(os.environ.get("NIFI_HOME") or "/opt/nifi/nifi-current") / "python"
    return path if (path / "framework" / "ExtensionManager.py").is_file() else None


def run_as_nifi(unpacked: Path, nifi: Path | None, program: str, *arguments: str, **environment: str) -> Any:
    """What a program prints as JSON, in a Python as NiFi starts it for the processors of that NAR."""
    api = nifi / "api" if nifi else API
    path = os.pathsep.join(map(str, (api, unpacked, unpacked / "NAR-INF" / "bundled-dependencies")))
    framework = str(nifi / "framework") if nifi else ""
    caches = str(unpacked.parent / "caches")  # nothing is to be written into NiFi, nor into what is looked at here
    done = subprocess.run(
        [sys.executable, "-S", "-c", program, framework, str(unpacked), *arguments], check=False, cwd="/", timeout=120,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": path, "PYTHONPYCACHEPREFIX": caches, **environment},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# --- reproducible -------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_packed_twice_it_has_the_same_bytes(packed: tuple[Path, str], target: Target, tmp_path: Path) -> None:
    second = pack(target, tmp_path)
    assert second.name == packed[0].name
    assert hashlib.sha256(second.read_bytes()).digest() == hashlib.sha256(packed[0].read_bytes()).digest()
    second.unlink()


def test_the_command_says_what_it_does_and_what_came_out(packed: tuple[Path, str]) -> None:
    path, said = packed
    installing, packing, result = said.splitlines()
    assert installing.startswith(f"installing the libraries of Python {RUNNING} on ")
    assert re.fullmatch(r"packing \d+ files, \d+\.\d MB", packing)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert result == f"{path}  {path.stat().st_size / 1e6:.1f} MB  sha256:{sha256}"


def test_what_takes_long_is_told_every_few_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tools.nar._TELL_S", 0.01)
    with telling("packing", lambda: 2_000_000):
        end = time.monotonic() + 10
        said = ""
        while not said and time.monotonic() < end:
            time.sleep(0.01)
            said = capsys.readouterr().err
    assert re.match(r"  still packing after 0 s, 2\.0 MB so far\n", said)


def test_entries_are_sorted_and_have_neither_times_nor_modes_of_their_own(archive: zipfile.ZipFile) -> None:
    names = archive.namelist()
    assert names[0] == MANIFEST  # or Java finds none in a stream
    assert names[1:] == sorted(set(names[1:]))
    for info in archive.infolist():
        assert (info.date_time, info.external_attr >> 16, info.create_system) == ((1980, 1, 1, 0, 0, 0), 0o100644, 3)
        assert (info.flag_bits, info.extra, info.comment) == (0, b"", b""), info.filename
    unwanted = r"\.pyc$|/bin/|/RECORD$|/INSTALLER$|/direct_url\.json$|\.java$|/tests/|\.h$|\.pyi$"
    assert [name for name in names if re.search(unwanted, name)] == []


def test_no_file_names_a_place_on_the_machine_that_packed(unpacked: Path) -> None:
    places = [str(place).encode() for place in (REPOSITORY, unpacked.parent.parent, sys.prefix)]
    for path in unpacked.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert not any(place in content for place in places), path


# --- manifest -----------------------------------------------------------------------------------------------------


def test_the_manifest_has_one_line_an_entry_that_java_and_nifi_read_alike(archive: zipfile.ZipFile) -> None:
    raw = archive.read(MANIFEST)
    assert raw.endswith(b"\r\n\r\n")
    lines = raw.decode("ascii").split("\r\n")[:-2]
    assert max(len(line) for line in lines) <= 72
    values = dict(line.split(": ", 1) for line in lines)
    assert lines[0] == "Manifest-Version: 1.0"
    assert (values["Nar-Group"], values["Nar-Id"]) == ("imagewarehouse", "image-warehouse-nar")
    assert values["Nar-Version"] == __version__


def test_created_by_tells_what_is_in_it(archive: zipfile.ZipFile, unpacked: Path) -> None:
    contents = ((name, (unpacked / name).read_bytes()) for name in sorted(archive.namelist()) if name != MANIFEST)
    lines = [f"{name} {len(content)} {hashlib.sha256(content).hexdigest()}\n" for name, content in contents]
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    created_by = f"Created-By: imagewarehouse {__version__} sha256:{digest[:24]}\r\n"
    assert created_by in archive.read(MANIFEST).decode()


def test_a_version_too_long_for_a_line_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nar, "__version__", "10.20.30.dev20261130")
    with pytest.raises(ConfigurationError, match="a line may have 72 bytes: Created-By: "):
        nar.manifest("0" * 64)


def test_the_file_is_named_after_the_variant_the_python_and_the_machine() -> None:
    assert Target().filename == f"image-warehouse-{__version__}-cp311-linux_x86_64.nar"
    other = Target("3.12", "linux-aarch64", "tensorflow")
    assert other.filename == f"image-warehouse-tensorflow-{__version__}-cp312-linux_aarch64.nar"


# --- contents -----------------------------------------------------------------------------------------------------


def test_the_root_has_a_module_for_each_processor_and_the_core(unpacked: Path) -> None:
    found = {(module.name, module.ispkg) for module in pkgutil.iter_modules([str(unpacked)])}
    assert found == {(name, False) for name in TYPES} | {("imagewarehouse", True)}
    assert len(TYPES) == 6


def test_nothing_in_the_core_looks_like_a_processor(unpacked: Path) -> None:
    """NiFi scans every module of a package at the root."""
    modules = list((unpacked / "imagewarehouse").rglob("*.py"))
    assert len(modules) > 20
    for path in modules:
        classes = [node for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.ClassDef)]
        assert not [node.name for node in classes if node.name == "Java"], path


def _is_around_nifi(path: Path) -> bool:
    rooms = {"analytics", "cli", "deployment", "flows", "getting", "sending", "standalone", "training", "stand_in"}
    return bool(rooms & set(path.relative_to(REPOSITORY).parts))


def test_every_file_of_the_core_and_of_the_processors_is_in_it_as_it_is(archive: zipfile.ZipFile) -> None:
    names = set(archive.namelist())
    core = [path for path in (REPOSITORY / "imagewarehouse").rglob("*.py") if not _is_around_nifi(path)]
    for path in [*core, *artifacts.JARS.glob("*.jar")]:
        name = path.relative_to(REPOSITORY).as_posix()
        assert name in names
        names.remove(name)
    left = {name for name in names if not name.startswith((LIBRARIES, "META-INF/", "model/"))}
    assert left == {f"{name}.py" for name in TYPES} | {"imagewarehouse/_bundle.json"}
    for name in TYPES:
        assert archive.read(f"{name}.py") == (PROCESSORS / f"{name}.py").read_bytes()


def test_the_marker_says_what_it_was_packed_for(archive: zipfile.ZipFile) -> None:
    marker = {"python": RUNNING, "platform": sysconfig.get_platform(), "variant": VARIANT}
    assert json.loads(archive.read("imagewarehouse/_bundle.json")) == marker


@pytest.mark.parametrize(("variant", "runtimes"), [("core", {"litert"}), ("tensorflow", {"litert", "tensorflow"})])
def test_the_newest_version_of_the_model_is_bundled_with_what_serves_it_and_nothing_else(
    variant: str, runtimes: set[str], tmp_path: Path
) -> None:
    model = find_version(BUNDLED_MODEL)
    bundled = {
        name: content for name, content in nar.own_files(Target(variant=variant)).items() if name.startswith("model/")
    }
    inside = f"model/cifar10/{model.name}/"
    assert [name for name in bundled if name.endswith("/manifest.json")] == [f"{inside}manifest.json"]
    files = {name.removeprefix(inside): content for name, content in bundled.items() if name.startswith(inside)}
    original, described = json.loads((model / "manifest.json").read_text()), json.loads(files["manifest.json"])
    assert set(original["runtimes"]) == {"litert", "tensorflow"}
    assert described["runtimes"] == {name: file for name, file in original["runtimes"].items() if name in runtimes}
    served = {*described["runtimes"].values(), "labels.txt"}
    assert {name for name in files if not name.startswith("report/")} == {*served, "manifest.json"}
    assert set(described["sha256"]) == served
    for changed in (original, described):
        for key in ("runtimes", "sha256", "exports"):
            changed.pop(key, None)
    assert described == original
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.read_bytes())
    assert set(read_manifest(tmp_path).runtimes) == runtimes


def test_it_is_small_enough_to_upload(packed: tuple[Path, str]) -> None:
    assert 50_000_000 < packed[0].stat().st_size < LARGEST


# --- libraries and licences ---------------------------------------------------------------------------------------


def listed(archive: zipfile.ZipFile) -> dict[str, dict[str, str]]:
    """META-INF/DEPENDENCIES: what it says of each distribution and jar."""
    blocks = archive.read("META-INF/DEPENDENCIES").decode().split("\n\n")[1:]
    return {lines[0]: dict(line.strip().split(": ", 1) for line in lines[1:]) for lines in map(str.splitlines, blocks)}


def normal(name: str) -> str:
    """The one spelling of a distribution's name, of the several that there are."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_distribution_is_one_of_the_lock_and_listed_with_its_licence(archive: zipfile.ZipFile) -> None:
    lock = (REPOSITORY / "requirements.lock").read_text()
    locked = {(normal(name), version) for name, version in re.findall(r"^([\w.-]+)==(\S+)", lock, re.MULTILINE)}
    said = {(normal(what.split()[0]), what.split()[1]): values for what, values in listed(archive).items()}
    folders = {match[1] for name in archive.namelist() if (match := re.search(r"([^/]+)\.dist-info/", name))}
    assert len(folders) > 8
    for folder in folders:
        name, _, version = folder.rpartition("-")
        assert (normal(name), version) in locked, folder
        assert said[normal(name), version]["licence"], folder


def test_every_jar_of_others_is_listed_with_its_licence(archive: zipfile.ZipFile) -> None:
    found = listed(archive)
    jars = [name for name in archive.namelist() if name.startswith("imagewarehouse/kudu/jars/")]
    assert len(jars) == len(artifacts.of_set("kudu-client")) + 1
    for jar in jars:
        said = [values for what, values in found.items() if jar in what]
        assert len(said) == (0 if jar.endswith(artifacts.HELPER) else 1), jar
        assert all(values["licence"] for values in said)


def test_every_text_of_a_licence_is_where_the_list_says(archive: zipfile.ZipFile, unpacked: Path) -> None:
    for what, values in listed(archive).items():
        inside = re.fullmatch(r"inside the jar, (.+)", values["text"])
        if inside:
            jar = re.search(r"\((.+\.jar)\)", what)
            assert jar is not None
            with zipfile.ZipFile(unpacked / jar[1]) as content:
                assert all(content.read(name) for name in inside[1].split(" and "))
        else:
            for place in values["text"].split(", "):
                path = unpacked / place
                texts = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
                assert max(text.stat().st_size for text in texts) > 500, what


LGPL = ("META-INF/licences/lgpl-3.0.txt", "META-INF/licences/gpl-3.0.txt")


def test_the_decoder_of_heic_is_there_and_its_libraries_are_listed_as_those_they_are(
    archive: zipfile.ZipFile, unpacked: Path, nifi: Path | None
) -> None:
    found = {what.split()[0]: (what, values) for what, values in listed(archive).items()}
    for name in ("libheif", "libde265"):
        what, values = found[name]
        assert (values["licence"], values["text"]) == ("LGPL-3.0-or-later", ", ".join(LGPL))
        assert f"source: https://github.com/strukturag/{name}" in what
        place = re.search(r"\((\S+)\)", what)
        assert place is not None
        assert (unpacked / place[1]).read_bytes()[:4] == b"\x7fELF"  # a file of its own, which can be replaced
    names = " ".join(archive.namelist()).lower()
    assert not re.search("x265|x264|kvazaar", names)  # encoders, under the GPL
    program = "import json; from imagewarehouse.images.heif_decoder import heif_available; print(json.dumps(heif_available()))"
    assert run_as_nifi(unpacked, nifi, program) is True


def test_without_heic_nothing_under_the_lgpl_is_packed() -> None:
    target = Target(heic=False)
    assert target.filename == f"image-warehouse-no-heic-{__version__}-cp311-linux_x86_64.nar"
    wanted = nar.read_requirements(REPOSITORY / "pyproject.toml", target.extras)
    assert "pillow" in wanted
    assert not any("heif" in each for each in wanted)
    assert any("heif" in each for each in nar.read_requirements(REPOSITORY / "pyproject.toml", CORE.extras))
    assert set(LGPL) <= set(nar.own_files(CORE))
    assert not set(LGPL) & set(nar.own_files(target))


def test_make_hands_on_that_heic_is_not_wanted() -> None:
    for setting, wanted in (("HEIC=no", True), ("HEIC=yes", False), ("", False)):
        done = subprocess.run(
            ["make", "--dry-run", "--always-make", "nar", *filter(None, [setting])],
            cwd=REPOSITORY, capture_output=True, text=True, check=True,
        )  # fmt: skip
        [command] = [line for line in done.stdout.splitlines() if "tools.nar" in line]
        assert ("--no-heic" in command) is wanted


@pytest.mark.parametrize(
    ("name", "stays_out"),
    [
        ("numpy/__init__.py", False),
        ("numpy/_core/tests/test_umath.py", True),
        ("numpy/testing/__init__.py", False),
        ("numpy-2.4.6.dist-info/licenses/numpy/_core/include/numpy/libdivide/LICENSE.txt", False),
        ("a-1.dist-info/licenses/src/tests/LICENSE", False),
        ("a-1.dist-info/licenses/COPYING.h", False),
        ("a-1.dist-info/METADATA", False),
        ("a-1.dist-info/RECORD", True),
        ("bin/f2py", True),
        ("pyarrow/libarrow.so.2600", False),
        ("pyarrow/libarrow_python.so", True),
        ("pyarrow/libarrow_python.so.2600", False),
        ("pyarrow/libarrow_python.so.2600.1.0", True),
        ("pyarrow/lib.cpython-311-x86_64-linux-gnu.so", False),
        ("pyarrow/_flight.cpython-311-x86_64-linux-gnu.so", True),
    ],
)
def test_what_stays_out_of_the_libraries(name: str, stays_out: bool) -> None:
    assert (why_dropped(name, CORE) is not None) is stays_out


def test_a_distribution_without_a_licence_is_not_packed(tmp_path: Path) -> None:
    metadata = tmp_path / "thing-1.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: thing\nVersion: 1.0\nLicense: MIT\n")
    with pytest.raises(ConfigurationError, match=r"^thing 1\.0: has no text of its licence \(MIT\)"):
        nar.dependencies(CORE, {f"{LIBRARIES}/thing-1.0.dist-info/METADATA": metadata})


# --- run as NiFi runs it ------------------------------------------------------------------------------------------

# One processor in a process of its own, as in NiFi; where there is a NiFi, with its loader and its API, which asks a JVM
# for everything: here one that has whatever it is asked for.
_RUN = """
import base64, importlib.util, json, sys, sysconfig
from pathlib import Path
framework, home, kind, settings, attributes, content = sys.argv[1:]

class Anything:
    def __getattr__(self, name):
        return Anything()
    def __call__(self, *args):
        return Anything()

class HashMap(dict):
    put = dict.__setitem__

jvm = Anything()
jvm.java = Anything()
jvm.java.util = Anything()
jvm.java.util.HashMap = HashMap

class Value:
    def __init__(self, value):
        self.value = value
    def getValue(self):
        return self.value
    def evaluateAttributeExpressions(self, flow_file=None):
        return self

class FlowFile:
    def __init__(self, content, attributes):
        self.getContentsAsBytes, self.getSize = (lambda: content), (lambda: len(content))
        self.getAttribute, self.getAttributes = attributes.get, (lambda: attributes)

class Context:
    def __init__(self, descriptors, settings):
        self.values = {d.name: Value(settings.get(d.name, d.defaultValue)) for d in descriptors}
    def getName(self):
        return kind
    def getProperty(self, descriptor):
        return self.values.get(descriptor if isinstance(descriptor, str) else descriptor.name)
    def getProperties(self):
        return self.values

if framework:
    from nifiapi.__jvm__ import JvmHolder
    JvmHolder.jvm = JvmHolder.gateway = jvm
    sys.path.insert(0, framework)  # the folder of the script that NiFi starts
    import ExtensionManager
    manager = ExtensionManager.ExtensionManager(None)
    manager.discoverExtensions([home], "/nowhere")
    [details] = [d for d in manager.getProcessorTypes() if d.getProcessorType() == kind]
    cls = manager.getProcessorClass(kind, details.getProcessorVersion(), "/nowhere")
else:
    spec = importlib.util.spec_from_file_location(kind, home + "/" + kind + ".py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[kind] = module
    spec.loader.exec_module(module)
    cls = getattr(module, kind)
processor = cls(jvm=jvm)
processor.logger = Anything()
context = Context(processor.getPropertyDescriptors(), json.loads(settings))
problems = [p.explanation for p in processor.customValidate(context)] if hasattr(processor, "customValidate") else []
if hasattr(processor, "onScheduled"):
    processor.onScheduled(context)
result = processor.transform(context, FlowFile(base64.b64decode(content), json.loads(attributes)))
contents = result.getContents()
contents = contents.encode() if isinstance(contents, str) else contents
files = {name: module.__file__ for name, module in list(sys.modules.items()) if getattr(module, "__file__", None)}
known = [home, framework or home, *sys.path, sysconfig.get_path("stdlib")]
print(json.dumps({
    "relationship": result.getRelationship(),
    "attributes": dict(result.getAttributes() or {}),
    "content": None if contents is None else base64.b64encode(bytes(contents)).decode(),
    "problems": problems,
    "bundled": sorted({name.partition(".")[0] for name, path in files.items() if path.startswith(home)}),
    "foreign": [p for p in files.values() if "site-packages" in p or not any(p.startswith(k) for k in known if k)],
}))
if hasattr(processor, "onStopped"):
    processor.onStopped(context)
"""


@pytest.fixture(scope="module")
def ways(unpacked: Path, nifi: Path | None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """A picture's way through all processors of the unpacked NAR, each in its own process."""
    folder = tmp_path_factory.mktemp("ways")
    settings = json.dumps({"Store URI": str(folder / "objects"), "Local Database": str(folder / "rows.duckdb")})
    content = base64.b64encode((REPOSITORY / "examples" / "frog.jpg").read_bytes()).decode()
    attributes: Mapping[str, str] = {"Content-Type": "image/jpeg"}
    found: dict[str, dict[str, Any]] = {}
    order = [
        "FilterImageRequest",
        "EnrichImageMetadata",
        "StoreImage",
        "ClassifyImage",
        "PutKuduRecord",
        "PutSolrDocument",
    ]
    assert sorted(order) == TYPES
    for kind in order:
        found[kind] = run_as_nifi(unpacked, nifi, _RUN, kind, settings, json.dumps(attributes), content)
        attributes = {**attributes, **found[kind]["attributes"]}
        content = content if found[kind]["content"] is None else found[kind]["content"]
    with duckdb.connect(str(folder / "rows.duckdb"), read_only=True) as rows:
        columns = "request_id, status, predicted_class, model_name, storage_uri"
        found["row"] = {"values": rows.sql(f"SELECT {columns} FROM image_events").fetchall()}
    found["end"] = {"attributes": attributes, "content": base64.b64decode(content)}
    return found


@pytest.mark.parametrize("kind", TYPES)
def test_each_processor_runs_with_what_is_bundled_and_nothing_else(ways: dict[str, dict[str, Any]], kind: str) -> None:
    way = ways[kind]
    assert way["problems"] == []
    assert way["relationship"] == ("switched off" if kind == "PutSolrDocument" else "success")
    assert way["foreign"] == []
    assert {kind, "imagewarehouse"} <= set(way["bundled"])


def test_a_picture_is_classified_by_the_bundled_model_and_its_row_is_written(ways: dict[str, dict[str, Any]]) -> None:
    attributes, content = ways["end"]["attributes"], ways["end"]["content"]
    answer = json.loads(content)
    assert (answer["predicted_class"], answer["model_name"], answer["status"]) == ("frog", "cifar10", "classified")
    assert attributes["http.response.status"] == "200"
    assert ways["row"]["values"] == [
        (attributes["request_id"], "classified", "frog", "cifar10", attributes["storage_uri"])
    ]
    assert {"ai_edge_litert", "numpy", "PIL"} <= set(ways["ClassifyImage"]["bundled"])


@pytest.mark.skipif(VARIANT != "tensorflow", reason="the variant core has no TensorFlow")
def test_a_model_without_a_litert_file_is_served_by_tensorflow(
    unpacked: Path, nifi: Path | None, tmp_path: Path, write_model: Callable[..., Path]
) -> None:
    bundled = find_version(BUNDLED_MODEL)
    described = json.loads((bundled / "manifest.json").read_text())
    kept = {name: described[name] for name in ("name", "input", "output", "temperature") if name in described}
    keras = (bundled / described["runtimes"]["tensorflow"]).read_bytes()
    labels = (bundled / described["labels"]).read_text()
    write_model(tmp_path / "1", {"tensorflow": ("model.keras", keras)}, labels, **kept)
    content = base64.b64encode((REPOSITORY / "examples" / "frog.jpg").read_bytes()).decode()
    settings = json.dumps({"Model Folder": str(tmp_path)})
    found = run_as_nifi(unpacked, nifi, _RUN, "ClassifyImage", settings, "{}", content)
    assert (found["relationship"], found["attributes"]["predicted_class"]) == ("success", "frog")
    assert "tensorflow" in found["bundled"]
    # Autograph writes what it makes of a model's code into the temporary folder.
    assert [path for path in found["foreign"] if "__autograph_generated_file" not in path] == []


_JVM = """
import json, sys
from imagewarehouse.kudu.clients import jvm
jvm.start()
import jpype
names = ["org.apache.kudu.client.KuduClient", "imagewarehouse.kudu.RowWriter"]
print(json.dumps([str(jpype.JClass(name).class_.getProtectionDomain().getCodeSource().getLocation()) for name in names]))
sys.stdout.flush()
"""


def test_kudus_client_is_found_in_the_nar(unpacked: Path) -> None:
    java = artifacts.find_java().resolve().parent.parent
    client, ours = run_as_nifi(unpacked, None, _JVM, JAVA_HOME=str(java))
    jars = unpacked / "imagewarehouse" / "kudu" / "jars"
    assert re.fullmatch(rf"file:{re.escape(str(jars))}/kudu-client-[\d.]+\.jar", client)
    assert ours == f"file:{jars}/{artifacts.HELPER}"


# NiFi's own discovery; to start another program would be to install something.
_DISCOVER = """
import json, logging, subprocess, sys
framework, home, work = sys.argv[1:]
sys.path.insert(0, framework)

class Started(Exception):
    pass

def refuse(*args, **kwargs):
    raise Started(args)

subprocess.run = subprocess.Popen = refuse
errors = []

class Errors(logging.Handler):
    def emit(self, record):
        errors.append(record.getMessage())

logging.getLogger().addHandler(Errors(logging.WARNING))
import ExtensionManager
manager = ExtensionManager.ExtensionManager(None)
manager.discoverExtensions([home], work)
print(json.dumps([errors, [{
    "type": d.getProcessorType(), "version": d.getProcessorVersion(), "bundled": d.isBundledWithDependencies(),
    "dependencies": d.dependencies, "home": d.getExtensionHome(),
    "bundle": [d.getBundleCoordinate().getGroup(), d.getBundleCoordinate().getId(), d.getBundleCoordinate().getVersion()],
} for d in manager.getProcessorTypes()]]))
"""


def test_nifi_finds_six_types_and_has_nothing_to_install(unpacked: Path, nifi: Path | None, tmp_path: Path) -> None:
    if nifi is None:
        pytest.skip("needs an installed NiFi: set NIFI_HOME")
    errors, found = run_as_nifi(unpacked, nifi, _DISCOVER, str(tmp_path))
    assert errors == []
    expected = {"version": __version__, "bundled": True, "dependencies": [], "home": str(unpacked),
                "bundle": ["imagewarehouse", "image-warehouse-nar", __version__]}  # fmt: skip
    assert sorted(found, key=lambda details: str(details["type"])) == [{"type": name, **expected} for name in TYPES]
    assert list(tmp_path.iterdir()) == []


# --- errors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--platform", "windows", "'windows' is not one of 'linux-x86_64', 'linux-aarch64'."),
        ("--python", "3.13", "'3.13' is not one of '3.10', '3.11', '3.12'."),
        ("--variant", "all", "'all' is not one of 'core', 'tensorflow'."),
    ],
)
def test_what_no_nar_is_packed_for_is_refused(option: str, value: str, expected: str) -> None:
    found = CliRunner().invoke(nar.main, [option, value])
    assert found.exit_code == 2
    assert f"Invalid value for '{option}': {expected}" in found.output
    field = option.removeprefix("--")
    with pytest.raises(ConfigurationError, match=f"^{option}: expected one of .+, received '{value}'$"):
        Target(**{field: value})


def test_help_names_every_option() -> None:
    found = CliRunner().invoke(nar.main, ["--help"])
    assert found.exit_code == 0
    assert all(option in found.output for option in ("--python", "--platform", "--variant", "--output", "Exit codes"))


def test_without_kudus_client_it_says_how_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "imagewarehouse").mkdir()
    (tmp_path / "processors").mkdir()
    problem = r"^imagewarehouse/kudu/jars: jsr305-3\.0\.2\.jar is missing or damaged; run `make kudu`$"
    with pytest.raises(ConfigurationError, match=problem):
        nar.own_files(CORE, tmp_path)


def test_a_library_with_another_hash_than_that_of_the_lock_is_not_packed(tmp_path: Path) -> None:
    lock = tmp_path / "test.lock"
    version = re.search(r"^packaging==(\S+)", (REPOSITORY / "requirements.lock").read_text(), re.MULTILINE)
    assert version is not None
    lock.write_text(f"packaging=={version[1]} --hash=sha256:{'0' * 64}\n")
    with pytest.raises(
        ConfigurationError, match=r"^libraries of Python 3\.11 on linux-x86_64, core: .*[Hh]ash mismatch"
    ):
        nar.install(["packaging"], CORE, tmp_path / "libraries", lock)


def test_an_error_is_one_line_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ConfigurationError("libraries", "not there")

    monkeypatch.setattr(nar, "install", fail)
    found = CliRunner().invoke(nar.main, ["--output", str(tmp_path / "dist")])
    assert found.exit_code == 1
    assert found.output.splitlines()[-1] == "tools.nar: libraries: not there"
    assert not (tmp_path / "dist").exists()
