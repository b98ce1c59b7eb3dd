"""What `pip install` installs; other tests import from the working tree, which has everything."""

import runpy
from pathlib import Path

import setuptools

ROOT = Path(__file__).parents[2]


def test_every_package_is_installed(monkeypatch):
    told = {}
    monkeypatch.setattr(setuptools, "setup", lambda **options: told.update(options))
    monkeypatch.chdir(ROOT)
    runpy.run_path("setup.py")
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "dcomp").rglob("*.py")}
    assert Path("dcomp/_checkpoint") in folders
    assert sorted(told["packages"]) == sorted({".".join(folder.parts) for folder in folders} | {"dcomp.kernels"})
