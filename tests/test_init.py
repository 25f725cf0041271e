"""The package's public names."""

import subprocess
import sys
from importlib.metadata import version

import pytest

import titrant


def test_every_public_name_is_there_and_has_a_docstring() -> None:
    for name in titrant.__all__:
        assert name in dir(titrant)
        assert getattr(titrant, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'fits'"):
        _ = titrant.fits


def test_the_version_is_that_of_the_installed_package() -> None:
    assert titrant.__version__ == version("titrant")


def test_import_is_quick_because_nothing_heavy_comes_with_it() -> None:
    heavy = "{'torch', 'polars', 'sklearn', 'optuna', 'plotly'}"
    code = f"import sys, titrant; assert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
