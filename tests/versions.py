"""The tests that depend on the version of transformers, in the versions before the one that requirements.txt pins.

    python tests/versions.py                    the tests in all of them: `make test-versions`
    python tests/versions.py 4.47.1             in one of them
    python tests/versions.py 4.47.1 -- FILE …   Python in that version, with these arguments in place of the tests

Each version has an overlay: a folder with transformers and the packages that change with it, which PYTHONPATH puts
before the main environment. That takes 120 MB and seconds, where an environment with torch takes gigabytes, and what
differs between two runs is transformers and nothing else: same Python, same torch, same numpy. What an overlay cannot
show: whether pip would choose this set (`--no-deps`), and how these versions behave on the torch of their time. They
share one ABI-stable wheel per platform (tokenizers, safetensors) or are pure Python, so nothing is built against torch.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / ".versions"

# Each with the newest releases of its time. safetensors matters: from 0.8 on load_file of 4.47 reads a shard at once.
PINS = {
    "4.47.1": {
        "transformers": "4.47.1",
        "tokenizers": "0.21.0",
        "huggingface_hub": "0.27.0",
        "accelerate": "1.2.1",
        "safetensors": "0.4.5",
    },
    "4.57.6": {
        "transformers": "4.57.6",
        "tokenizers": "0.22.2",
        "huggingface_hub": "0.36.0",
        "accelerate": "1.12.0",
        "safetensors": "0.7.0",
    },
    "5.0.0": {
        "transformers": "5.0.0",
        "tokenizers": "0.22.2",
        "huggingface_hub": "1.3.0",
        "accelerate": "1.12.0",
        "safetensors": "0.7.0",
    },
}
TESTS = (
    "test_versions.py",
    "test_landmarks.py",
    "test_recorder.py",
    "test_process_as_before.py",
    "test_generation_steps.py",
    "test_generation_kv_cache.py",
    "test_contrastive_search.py",
    "test_offload.py",
    "test_secrets.py",
    "test_loading_ledger.py",
    "test_loading_renamed.py",
    "test_loading_gguf.py",
    "test_loading_quantised.py",
    "test_placement_kinds.py",
    "test_sampling_zoom.py",
    "test_sampling_chain.py",
    "test_values_zoom.py",
    "test_compat.py",
    "test_reference_recording.py",
    "test_across_versions.py",
    "test_devices.py",
    "test_forecast.py",
    "test_forecast_placement.py",
    "test_forecast_plain_cache.py",
    "test_forecast_measured.py",
    "test_forecast_activations.py",
    "test_model_shapes.py",
    "test_memory_phases.py",
    "test_kv_cache_sizes.py",
    "test_stages.py",
    "test_training.py",
    "test_parameter_memory.py",
    "test_functions_zoom.py",
    "test_lines_and_functions.py",
    "test_source.py",
    "test_find.py",
    "test_diff.py",
    "test_hostile_objects.py",
    "test_overrides.py",
    "test_threads.py",
    "test_recording_file.py",
)
CHOSEN = "not browser and not gpu and (not slow or in_older_versions)"
LONG = ("test_forecast_activations.py::test_the_prefill_takes_what_torch_s_allocator_says",)


def pin_lines(version: str) -> list[str]:
    """The pins of one version, as pip takes them."""
    return [f"{package}=={pin}" for package, pin in PINS[version].items()]


def _stamp(version: str) -> str:
    """What an overlay was made from: remade when it changes."""
    return "\n".join([f"python {sys.version_info.major}.{sys.version_info.minor}", *pin_lines(version), ""])


def overlay(version: str, folder: Path = FOLDER) -> Path:
    """The folder to put first on PYTHONPATH; made if it is not there, or was made from other pins.

    Made beside its place and moved there when it is complete. Raises CalledProcessError when pip fails.
    """
    place = folder / version
    stamp = place / "pins.txt"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == _stamp(version):
        return place
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=f"{version}-") as temporary:
        made = Path(temporary, version)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--target", str(made), *pin_lines(version)], check=True)
        (made / "pins.txt").write_text(_stamp(version), encoding="utf-8")
        shutil.rmtree(place, ignore_errors=True)
        made.rename(place)
    return place


def environment(version: str) -> dict[str, str]:
    """The environment variables under which Python runs in that version."""
    paths = [str(overlay(version)), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def main(arguments: list[str]) -> int:
    """Run the tests, or what stands after "--", in each version; return 1 when any failed, 2 for one without pins."""
    given = "--" in arguments
    split = arguments.index("--") if given else len(arguments)
    versions, rest = arguments[:split], arguments[split + 1 :]
    unknown = [version for version in versions if version not in PINS]
    if unknown:
        print(f"error: no pins for {', '.join(unknown)}; there are {', '.join(PINS)}", file=sys.stderr)
        return 2
    tests = ["-m", "pytest", "-q", "-m", CHOSEN, *(str(ROOT / "tests" / name) for name in TESTS)]
    tests += [f"--deselect=tests/{name}" for name in LONG]
    failed = []
    for version in versions or PINS:
        print(f"transformers {version}", flush=True)
        command = [sys.executable, *(rest if given else tests)]
        if subprocess.run(command, cwd=ROOT, env=environment(version)).returncode:
            failed.append(version)
    print(f"failed in {', '.join(failed)}" if failed else "no failures")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
