"""The stand-in for `nifiapi` against the real one, and NiFi's own scan of our processors. Needs an installed NiFi."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imagewarehouse import __version__
from imagewarehouse.nifi.processors import processor_class
from imagewarehouse.resources import PROCESSORS, REPOSITORY
from imagewarehouse.resources import STAND_IN as API

STAND_IN = API / "nifiapi"


@pytest.fixture(scope="module")
def nifi() -> Path:
    """The python folder of an installed NiFi."""
    path = Path(os.environ.get("NIFI_HOME") or "/opt/nifi/nifi-current") / "python"
    if not (path / "api" / "nifiapi").is_dir():
        pytest.skip(f"needs an installed NiFi: set NIFI_HOME, there is no {path}")
    return path


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def classes(module: ast.Module) -> dict[str, ast.ClassDef]:
    return {node.name: node for node in module.body if isinstance(node, ast.ClassDef)}


def methods(node: ast.ClassDef) -> dict[str, ast.FunctionDef]:
    return {item.name: item for item in node.body if isinstance(item, ast.FunctionDef)}


def signature(function: ast.FunctionDef) -> list[tuple[str, str | None]]:
    """Parameters in order with their defaults as written, None where there is none."""
    found = function.args
    defaults = [None] * (len(found.args) - len(found.defaults)) + [ast.unparse(value) for value in found.defaults]
    named = [(argument.arg, default) for argument, default in zip(found.args, defaults, strict=True)]
    return named + ([("*" + found.vararg.arg, None)] if found.vararg else [])


def imported_names(path: Path) -> set[tuple[str, str]]:
    """(module, name) of everything a processor takes from nifiapi."""
    nodes = [node for node in ast.walk(parse(path)) if isinstance(node, ast.ImportFrom) and node.module]
    return {(node.module, alias.name) for node in nodes for alias in node.names if node.module.startswith("nifiapi")}


def top_level(module: ast.Module) -> set[str]:
    return {node.name for node in module.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}


STAND_IN_CLASSES = [(path.stem, name) for path in sorted(STAND_IN.glob("*.py")) for name in classes(parse(path))]


# --- the stand-in -------------------------------------------------------------------------------------------------


def test_every_module_of_the_stand_in_is_one_of_nifi(nifi: Path) -> None:
    ours, theirs = ({path.name for path in folder.glob("*.py")} for folder in (STAND_IN, nifi / "api" / "nifiapi"))
    assert ours - theirs == set()
    assert len(ours) > 1


def test_what_the_processors_import_is_in_both(processor_type: str, nifi: Path) -> None:
    names = imported_names(PROCESSORS / f"{processor_type}.py")
    assert names
    for folder in (STAND_IN, nifi / "api" / "nifiapi"):
        missing = {f"{module}.{name}" for module, name in names
                   if name not in top_level(parse(folder / f"{module.partition('.')[2]}.py"))}  # fmt: skip
        assert missing == set(), folder


def test_every_name_of_the_stand_in_is_one_of_nifi(nifi: Path) -> None:
    for path in STAND_IN.glob("*.py"):
        ours = {name for name in top_level(parse(path)) if not name.startswith("_")}
        assert ours - top_level(parse(nifi / "api" / "nifiapi" / path.name)) == set(), path.name


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("properties", "PropertyDescriptor"),
        ("properties", "PropertyDependency"),
        ("properties", "ResourceDefinition"),
        ("properties", "ValidationResult"),
        ("relationship", "Relationship"),
        ("flowfiletransform", "FlowFileTransformResult"),
    ],
)
def test_a_constructor_takes_the_same_parameters_in_the_same_order(nifi: Path, module: str, name: str) -> None:
    ours, theirs = (
        signature(methods(classes(parse(folder / f"{module}.py"))[name])["__init__"])
        for folder in (STAND_IN, nifi / "api" / "nifiapi")
    )
    assert ours == theirs


@pytest.mark.parametrize("name", ["use_case", "multi_processor_use_case"])
def test_a_decorator_takes_the_same_parameters_in_the_same_order(nifi: Path, name: str) -> None:
    ours, theirs = (
        [signature(node) for node in parse(folder / "documentation.py").body
         if isinstance(node, ast.FunctionDef) and node.name == name]
        for folder in (STAND_IN, nifi / "api" / "nifiapi")
    )  # fmt: skip
    assert ours == theirs
    assert len(ours) == 1


@pytest.mark.parametrize(("module", "name"), STAND_IN_CLASSES, ids=[name for _, name in STAND_IN_CLASSES])
def test_a_class_has_no_method_that_nifis_lacks(nifi: Path, module: str, name: str) -> None:
    theirs = classes(parse(nifi / "api" / "nifiapi" / f"{module}.py"))

    def inherited(node: ast.ClassDef) -> set[str]:
        bases = [theirs[base.id] for base in node.bases if isinstance(base, ast.Name) and base.id in theirs]
        return set(methods(node)).union(*(inherited(base) for base in bases))

    ours = {method for method in methods(classes(parse(STAND_IN / f"{module}.py"))[name]) if not method.startswith("_")}
    assert ours - inherited(theirs[name]) == set()


def test_standard_validators_and_scopes_are_those_of_nifi(nifi: Path) -> None:
    def assigned(folder: Path, name: str) -> set[str]:
        node = classes(parse(folder / "properties.py"))[name]
        return {target.id for item in node.body if isinstance(item, ast.Assign) for target in item.targets}

    theirs = nifi / "api" / "nifiapi"
    assert assigned(STAND_IN, "StandardValidators") <= assigned(theirs, "StandardValidators")
    assert assigned(STAND_IN, "ExpressionLanguageScope") == assigned(theirs, "ExpressionLanguageScope")


def test_a_descriptor_keeps_its_settings_under_nifis_attribute_names(nifi: Path) -> None:
    def attributes(folder: Path) -> set[str]:
        init = methods(classes(parse(folder / "properties.py"))["PropertyDescriptor"])["__init__"]
        return {
            node.attr for node in ast.walk(init) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        }

    assert attributes(STAND_IN) == attributes(nifi / "api" / "nifiapi")


# --- NiFi's own code over our processors --------------------------------------------------------------------------

_SCAN = """
import json, sys
import ProcessorInspection as scan

found = {}
for path in sys.argv[1:]:
    nodes = scan.get_processor_class_nodes(path)
    found[path] = []
    for node in nodes:
        details = scan.get_processor_details(node, path, "/nowhere", False)
        found[path].append({
            "type": details.type, "version": details.version, "tags": details.tags, "interface": details.getInterface(),
            "description": details.description, "dependencies": details.dependencies,
            "use_cases": [[u.description, u.notes, u.keywords, u.configuration] for u in details.use_cases],
            "multi": [[u.description, u.keywords, [[c.processor_type, c.configuration] for c in u.configurations]]
                      for u in details.multi_processor_use_cases],
            "properties": [vars(p) for p in details.property_descriptions],
        })
print(json.dumps(found, default=vars))
"""

# The real nifiapi asks a JVM for everything; here one that has whatever it is asked for.
_REAL_API = """
import importlib.util, json, sys
from nifiapi.__jvm__ import JvmHolder

class Anything:
    def __getattr__(self, name):
        return Anything()
    def __call__(self, *args):
        return Anything()

class HashMap(dict):
    put = dict.__setitem__

JvmHolder.jvm = JvmHolder.gateway = jvm = Anything()
jvm.java = Anything()
jvm.java.util = Anything()
jvm.java.util.HashMap = HashMap

class FlowFile:
    def __init__(self, content, attributes):
        self.getContentsAsBytes, self.getSize = (lambda: content), (lambda: len(content))
        self.getAttribute, self.getAttributes = attributes.get, (lambda: attributes)

class Context:
    def __init__(self, descriptors, settings):
        from nifiapi.properties import PythonPropertyValue
        values = {d.name: settings.get(d.name, d.defaultValue) for d in descriptors}
        self.values = {n: PythonPropertyValue(None, v, False, False, None) for n, v in values.items()}
    def getProperty(self, descriptor):
        return self.values.get(descriptor if isinstance(descriptor, str) else descriptor.name)
    def getProperties(self):
        return self.values

image, settings = bytes.fromhex(sys.argv[1]), json.loads(sys.argv[2])
attributes, content = {"Content-Type": "image/png"}, image
found = {}
for path in sys.argv[3:]:
    name = path.rpartition("/")[2].removesuffix(".py")
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    processor = getattr(module, name)(jvm=jvm)
    context = Context(processor.getPropertyDescriptors(), settings)
    assert processor.customValidate(context) == [], name
    result = processor.transform(context, FlowFile(content, attributes))
    found[name] = [result.getRelationship(), [d.name for d in processor.getPropertyDescriptors()]]
    attributes = {**attributes, **(result.getAttributes() or {})}
    content = content if result.getContents() is None else result.getContents()
print(json.dumps([found, attributes, content.decode()]))
"""


def run_with_nifi(nifi: Path, program: str, *arguments: str) -> Any:
    """What a program prints as JSON, with NiFi's framework and API on the path instead of the stand-in."""
    path = os.pathsep.join(str(folder) for folder in (nifi / "api", nifi / "framework", REPOSITORY))
    found = subprocess.run(
        [sys.executable, "-c", program, *arguments], env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, text=True, timeout=60, check=False, cwd="/",
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


@pytest.fixture(scope="module")
def scanned(nifi: Path) -> dict[str, Any]:
    paths = sorted(str(path) for path in PROCESSORS.glob("*.py"))
    found = run_with_nifi(nifi, _SCAN, *paths)
    assert all(len(details) == 1 for details in found.values())  # NiFi loads one processor of a module
    return {details[0]["type"]: details[0] for details in found.values()}


def test_nifis_scan_finds_each_processor_with_its_details(scanned: dict[str, Any], processor_type: str) -> None:
    details, cls = scanned[processor_type], processor_class(processor_type)
    assert details["version"] == __version__
    assert details["interface"] == "org.apache.nifi.python.processor.FlowFileTransform"
    assert details["tags"] == cls.ProcessorDetails.tags
    assert details["description"] == cls.ProcessorDetails.description
    assert details["dependencies"] == []
    assert details["use_cases"]
    for description, notes, keywords, configuration in details["use_cases"]:
        assert description
        assert notes
        assert keywords
        assert configuration


def test_nifis_scan_reads_use_cases_over_several_processors(scanned: dict[str, Any]) -> None:
    ((description, keywords, configurations),) = scanned["FilterImageRequest"]["multi"]
    assert description
    assert keywords
    assert [name for name, _ in configurations] == ["HandleHttpRequest", "PutKuduRecord", "HandleHttpResponse"]
    assert all(text for _, text in configurations)


def test_nifis_scan_reads_every_property_as_the_processor_has_it(scanned: dict[str, Any], processor_type: str) -> None:
    descriptors = processor_class(processor_type)().getPropertyDescriptors()
    expected = [
        {
            "name": d.name, "description": d.description, "display_name": d.displayName or d.name, "required": d.required,
            "sensitive": d.sensitive, "default_value": d.defaultValue, "allowable_values": d.allowableValues or [],
            "expression_language_scope": d.expressionLanguageScope.name,
        }
        for d in descriptors
    ]  # fmt: skip
    found = [{name: item[name] for name in expected[0]} for item in scanned[processor_type]["properties"]]
    assert found == expected


def test_the_processors_work_with_the_real_api(
    nifi: Path, tmp_path: Path, picture: Callable[..., bytes], colour_model: Path
) -> None:
    order = [
        "FilterImageRequest",
        "EnrichImageMetadata",
        "StoreImage",
        "ClassifyImage",
        "PutKuduRecord",
        "PutSolrDocument",
    ]
    settings = {"Store URI": str(tmp_path / "objects"), "Local Database": str(tmp_path / "rows.duckdb"),
                "Model Folder": str(colour_model)}  # fmt: skip
    paths = [str(PROCESSORS / f"{name}.py") for name in order]
    found, attributes, content = run_with_nifi(
        nifi, _REAL_API, picture("PNG", "blue").hex(), json.dumps(settings), *paths
    )
    assert [found[name][0] for name in order] == ["success"] * 5 + ["switched off"]
    for name in order:
        assert found[name][1] == [d.name for d in processor_class(name)().getPropertyDescriptors()]
    assert (attributes["predicted_class"], attributes["http.response.status"]) == ("blue", "200")
    assert json.loads(content)["predicted_class"] == "blue"
