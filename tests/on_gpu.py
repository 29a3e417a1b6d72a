"""The tests that need a GPU, and every notebook (nbval, lax), with a Python that has its own torch and transformers.

    python tests/on_gpu.py [--wheels FOLDER]              `make test-gpu PYTHON=... WHEELS=...`
    python tests/on_gpu.py [--wheels FOLDER] --bench      `make bench-gpu PYTHON=... WHEELS=...`: the benchmark instead

An environment beside the checkout (.venv-gpu) sees the packages of that Python and adds what is missing, from FOLDER
alone where it is given. Nothing that is run asks the Hub, so that a machine without network will do. torch and
transformers stay as they are. Where the demo checkpoint is missing the notebooks run on the tiny one; TRACE_MODEL names
another.

Not run on a GPU yet.
"""

from __future__ import annotations

import argparse
import os
import re
import site
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / ".venv-gpu"
ITS_OWN = ("torch", "transformers")  # the machine's: never replaced
NOT_NEEDED = ("playwright", "ruff", "pyyaml")  # of the tests: for browsers and for style
GPU_MARK = re.compile(r"^(pytestmark = .*|    |@)pytest\.mark\.gpu\b", re.MULTILINE)
HAS_CUDA = """
import importlib.metadata as metadata
try:
    import torch, transformers
except ImportError as error:
    print(f"{error.name} is not installed in this Python")
except OSError as error:  # a library of CUDA's that is missing
    print(f"torch cannot be imported by this Python ({error})")
else:
    print("" if torch.cuda.is_available() else f"torch {torch.__version__} finds no CUDA device")
"""


def main(arguments: list[str]) -> int:
    """Run it all; return 0 when all passed, 1 when a test or notebook failed, 2 when nothing could be run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheels", type=Path, metavar="FOLDER", help="install what is missing from these files only")
    parser.add_argument("--bench", action="store_true", help="run benchmarks/bench_gpu.py in place of the tests")
    options = parser.parse_args(arguments)
    wheels = options.wheels
    if wheels is not None and not wheels.is_dir():
        return _refused(f"--wheels {wheels}: there is no such folder")
    reason = _output(sys.executable, "-c", HAS_CUDA)
    if reason:
        return _refused(f"{reason} ({sys.executable}): nothing was run. Name another with make test-gpu PYTHON=...")
    python = _environment()
    if subprocess.run([python, "-m", "pip", "install", "--quiet", *_missing(python, wheels)]).returncode:
        return _refused("what is missing could not be installed" + (f" from {wheels}" if wheels else ""))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    if options.bench:
        return _status([[python, ROOT / "benchmarks" / "bench_gpu.py"]], environment)
    if "TRACE_MODEL" not in environment and _output(python, "-c", _DEMO_IS_BUILT, cwd=ROOT) != "True":
        environment["TRACE_MODEL"] = _output(python, "-c", _TINY, cwd=ROOT)
        print(f"The demo checkpoint is not here: the notebooks run on {environment['TRACE_MODEL']}")
    tests = [python, "-m", "pytest", "-q", "-rs", "-m", "gpu", *gpu_tests()]
    notebooks = [python, "-m", "helpers.notebooks", "validate", "--lax"]
    return _status([tests, notebooks], environment)


def gpu_tests() -> list[str]:
    """The test files that have tests for a GPU. The others are not even read: they need browsers and their packages."""
    files = sorted((ROOT / "tests").glob("test_*.py"))
    return [str(path) for path in files if GPU_MARK.search(path.read_text(encoding="utf-8"))]


def _status(commands: list[list[str | Path]], environment: dict[str, str]) -> int:
    """Run them all; 1 when any failed."""
    failed = [subprocess.run(command, cwd=ROOT, env=environment).returncode for command in commands]
    return 1 if any(failed) else 0


_DEMO_IS_BUILT = "from helpers import checkpoints; print(checkpoints.demo_is_built())"
_TINY = "from helpers import checkpoints; print(checkpoints.tiny())"


def _refused(reason: str) -> int:
    print(f"error: {reason}", file=sys.stderr)
    return 2


def _output(*command: str | Path, cwd: Path | None = None) -> str:
    return subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def _environment() -> Path:
    """The Python of .venv-gpu, made of this Python and seeing its packages: also where this one is an environment
    itself, of which one with system_site_packages would see nothing. Made again for another Python."""
    place = {"base": str(FOLDER), "platbase": str(FOLDER)}
    python = Path(sysconfig.get_path("scripts", scheme="venv", vars=place), "python")
    stamp = FOLDER / "made-of.txt"
    made_of = f"{sys.executable} {sys.version}\n"
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != made_of:
        venv.create(FOLDER, clear=True, with_pip=True)
        seen = [*site.getsitepackages(), *([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])]
        lines = [f"import site; site.addsitedir({folder!r})" for folder in seen if Path(folder).is_dir()]
        own = Path(sysconfig.get_path("purelib", scheme="venv", vars=place))
        (own / "its_own_packages.pth").write_text("\n".join(lines) + "\n", encoding="utf-8")
        stamp.write_text(made_of, encoding="utf-8")
    return python


def _missing(python: Path, wheels: Path | None) -> list[str]:
    """What pip is told: the packages of pyproject.toml, from `wheels` alone where given, torch and its kin as is."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["test"]
    named = {requirement: re.match(r"[\w.-]+", requirement)[0] for requirement in wanted}
    installed = (
        "import importlib.metadata as metadata, sys; print(*(f'{n}=={metadata.version(n)}' for n in sys.argv[1:]))"
    )
    constraints = FOLDER / "constraints.txt"
    constraints.write_text(_output(python, "-c", installed, *ITS_OWN).replace(" ", "\n") + "\n", encoding="utf-8")
    source = ["--no-index", "--find-links", str(wheels)] if wheels is not None else []
    packages = [requirement for requirement, name in named.items() if name not in (*ITS_OWN, *NOT_NEEDED)]
    return [*source, "--constraint", str(constraints), *packages]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
