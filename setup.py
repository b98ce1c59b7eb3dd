"""Packages only; everything else is in pyproject.toml.

The folder `kernels` becomes `dcomp.kernels`: its own name is too general to be installed as a top-level import.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["dcomp", "dcomp.*"], exclude=["dcomp.kernels"]), "dcomp.kernels"],
    package_dir={"dcomp": "dcomp", "dcomp.kernels": "kernels"},
)
