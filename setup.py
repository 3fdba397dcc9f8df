"""Builds the wheel: the processors, the flow definitions, the models and Solr's configset become files of the package."""

from pathlib import Path
from shutil import copytree, ignore_patterns

from setuptools import setup
from setuptools.command.build_py import build_py

_INSIDE = ("processors", "flows", "model", "nifi-conf/solr")
_LEFT_OUT = ("__pycache__", "model.h5", "model.tflite")  # other formats of the model, for other programs


class BuildWithResources(build_py):  # type: ignore[misc] # setuptools has no types
    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            root, target = Path(__file__).parent, Path(self.build_lib) / "imagewarehouse" / "resources"
            for folder in _INSIDE:
                copytree(root / folder, target / folder, ignore=ignore_patterns(*_LEFT_OUT), dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithResources})
