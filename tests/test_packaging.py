"""The lists of dependencies and the version numbers stand in several files; here they are held equal."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import ssd_jax

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def parse(lines):
    """Returns requirements in one spelling: {name: (extras, version bounds)}."""
    parsed = [Requirement(line) for line in lines]
    return {item.name.lower().replace("_", "-"): (item.extras, str(item.specifier)) for item in parsed}


def read_requirements(name):
    lines = [line.split("#")[0].strip() for line in (ROOT / name).read_text(encoding="utf-8").splitlines()]
    return parse(line for line in lines if line and not line.startswith("-r"))


def test_requirements_are_the_dependencies_and_pytest():
    pytest_only = [line for line in EXTRAS["test"] if line.startswith("pytest>")]
    assert len(pytest_only) == 1
    assert read_requirements("requirements.txt") == parse(PROJECT["dependencies"] + pytest_only)


def test_dev_requirements_are_the_extras():
    lines = [line for line in EXTRAS["test"] + EXTRAS["dev"] if not line.startswith("pytest>")]
    assert read_requirements("requirements-dev.txt") == parse(lines)
    assert "-r requirements.txt" in (ROOT / "requirements-dev.txt").read_text(encoding="utf-8").splitlines()


def test_tensorflow_is_not_a_dependency():
    named = parse(PROJECT["dependencies"] + [line for extra in EXTRAS.values() for line in extra])
    assert not {name for name in named if name.startswith("tensorflow")} - {"tensorflow-datasets"}


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest and newest[1] == PROJECT["version"]
    assert ssd_jax.__version__ == PROJECT["version"]
    assert str(citation["version"]) == PROJECT["version"]
    assert citation["license"] == PROJECT["license"] == "Apache-2.0"


def test_every_package_of_the_library_is_in_the_wheel():
    # setuptools' find leaves out folders without __init__.py, and with them their modules.
    folders = {path.parent for path in (ROOT / "ssd_jax").rglob("*.py")}
    assert not [folder for folder in folders if not (folder / "__init__.py").is_file()]
    assert (ROOT / "ssd_jax" / "py.typed").is_file()


@pytest.mark.parametrize("target", ["help", "install", "demo", "test", "slow", "check", "clean"])
def test_the_makefile_has_the_targets_that_the_documents_name(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
