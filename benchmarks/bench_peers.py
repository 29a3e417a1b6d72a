"""The recorder beside its peers: the same generation plain, recorded and under each tool, in turn, in one process.

    python benchmarks/bench_peers.py

makes .venv-peers the first time (the packages of this environment, and those of requirements-peers.txt beside them) and
runs there. Median of seven rounds; each ratio is of the plain run in the same round. What each tool then knows differs:
see the column. TorchLens takes one forward pass and not a generation, and is held against one plain forward pass.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import sysconfig
import threading
import venv
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parent.parent
PLACE = ROOT / ".venv-peers"
REQUIREMENTS = Path(__file__).with_name("requirements-peers.txt")
ROUNDS = 7
NAMES = ("viztracer", "nnsight", "torchlens", "torch")

os.environ.setdefault("HF_HUB_OFFLINE", "1")


def python_with_peers() -> Path:
    """The Python of .venv-peers, made if it is not there or was made from other requirements."""
    python = PLACE / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = PLACE / "requirements.txt"
    wanted = f"{sys.executable} {sys.version}\n{REQUIREMENTS.read_text(encoding='utf-8')}"
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != wanted:
        venv.create(PLACE, clear=True, with_pip=True)
        folder = sysconfig.get_path("purelib", vars={"base": str(PLACE), "platbase": str(PLACE)})
        Path(folder, "main_environment.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", REQUIREMENTS]
        subprocess.run(pip, check=True)
        stamp.write_text(wanted, encoding="utf-8")
    return python


def works() -> dict[str, tuple[str, str, Callable[[], object]]]:
    """By name: what it is held against, what it shows, and the work."""
    import nnsight
    import torch
    import torchlens
    from bench_recorder import ALL_BUT_LINES, NEW_TOKENS, PROMPT_TOKENS, load, recorded
    from torch.profiler import ProfilerActivity, profile
    from torch.utils._debug_mode import DebugMode
    from transformers import AutoTokenizer
    from viztracer import VizTracer

    from helpers import checkpoints

    checkpoint = str(checkpoints.demo())
    model = load(checkpoint)
    # a copy of its own: what nnsight puts around a model stays there
    traced = nnsight.TransformersModel(load(checkpoint), tokenizer=AutoTokenizer.from_pretrained(checkpoint))
    ids = (torch.arange(PROMPT_TOKENS) % (model.config.vocab_size - 10) + 5).unsqueeze(0)
    length = {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS}
    settings = {"attention_mask": torch.ones_like(ids), "do_sample": False, **length}

    def generate():
        return model.generate(input_ids=ids, **settings)

    def within(context: Callable[[], object]) -> Callable[[], object]:
        def run():
            with context():
                generate()

        return run

    def called():
        tracer = VizTracer(verbose=0, tracer_entries=5_000_000)
        tracer.start()
        generate()
        tracer.stop()
        tracer.clear()  # not saved: as a context manager it writes result.json
        threading.setprofile(None)  # it leaves its own for threads to come, and the recorder refuses to displace that

    def cached():
        with traced.generate(ids, **settings) as tracer:
            cache = tracer.cache()
        return cache  # noqa: RET504 - nnsight compiles the block above on its own, where there can be no return

    def forward():
        with torch.no_grad():
            return model(input_ids=ids)

    def lens():
        with torch.no_grad():
            return torchlens.trace(model, ids)

    cpu = [ProfilerActivity.CPU]
    return {
        "plain": ("", "", generate),
        "this recorder, default zoom": ("plain", "calls, modules, shapes, memory; 4 steps in full", recorded(generate)),
        "this recorder, every step": ("plain", "the same, 16 steps in full", recorded(generate, steps=None)),
        "this recorder, all levels but lines": (
            "plain", "every call, values, sampling; 16 steps in full", recorded(generate, *ALL_BUT_LINES, steps=None),
        ),
        "VizTracer": (
            "plain", "calls, no tensors", called,
        ),
        "nnsight cache": ("plain", "modules' outputs, held; no calls outside modules", cached),
        "torch.profiler": ("plain", "operators", within(lambda: profile(activities=cpu))),
        "torch.profiler, shapes and stacks": (
            "plain", "operators, shapes, Python frames",
            within(lambda: profile(activities=cpu, record_shapes=True, with_stack=True)),
        ),
        "DebugMode": ("plain", "operators, shapes, dtypes, modules", within(lambda: DebugMode(record_nn_module=True))),
        "plain forward pass": ("", "", forward),
        "TorchLens, one forward pass": ("plain forward pass", "operators, tensors, their graph", lens),
    }  # fmt: skip


def measured() -> list[str]:
    from measure import seconds

    work = works()
    for _, _, run in work.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(ROUNDS):
        for name, (_, _, run) in work.items():
            times[name].append(seconds(run))
    rows = []
    for name, (base, shows, _) in work.items():
        milliseconds = 1000 * statistics.median(times[name])
        if not base:
            rows.append(f"| {name} | | | {milliseconds:.0f} | |")
            continue
        ratios = [one / plain for one, plain in zip(times[name], times[base], strict=True)]
        spread = f"×{min(ratios):.2f} – ×{max(ratios):.2f}"
        rows.append(f"| {name} | ×{statistics.median(ratios):.2f} | {spread} | {milliseconds:.0f} | {shows} |")
        print(rows[-1], file=sys.stderr)
    return rows


def main() -> None:
    if "--here" not in sys.argv:
        command = [python_with_peers(), __file__, "--here"]
        sys.exit(subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}).returncode)
    import transformers
    from measure import write

    transformers.utils.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    table = "\n".join(["| tool | ratio | spread | ms | shows |", "|---|---|---|---|---|", *measured()])
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in NAMES)
    note = f"{versions}. {ROUNDS} rounds. When it ended the machine had {os.getloadavg()[0]:.1f} runnable processes."
    write("peers", "The recorder beside its peers", f"{table}\n\n{note}")


if __name__ == "__main__":
    main()
