"""Installs pip by means of the wheel of pip that lies beside this file; what get-pip.py does with one that it contains."""

import pathlib
import runpy
import sys

version = pathlib.Path(__file__).stem.removeprefix("get_pip_").replace("_", ".")
sys.path.insert(0, str(next(pathlib.Path(__file__).parent.glob(f"pip-{version}-*.whl"))))
packages = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
sys.argv = ["pip", "install", *packages]
runpy.run_module("pip", run_name="__main__", alter_sys=True)
