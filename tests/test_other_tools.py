"""Profilers, debuggers and coverage beside a recording: kept working, or refused with a clear message."""

import cProfile
import os
import pstats
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from helpers import record
from helpers.events import RecordingError

HAS_MONITORING = sys.version_info >= (3, 12)
IDS = torch.tensor([[5, 6, 7]])


@pytest.fixture(scope="module")
def model(tiny_checkpoint):
    return AutoModelForCausalLM.from_pretrained(tiny_checkpoint)


def forward(model):
    with torch.no_grad():
        return model(IDS)


def nothing(frame, event, arg):
    return None


def functions_in(profile: cProfile.Profile) -> set[str]:
    return {name for _, _, name in pstats.Stats(profile).stats}


# set before the recording --------------------------------------------------------------------------------------------


@pytest.mark.skipif(HAS_MONITORING, reason="sys.monitoring leaves profile functions alone")
@pytest.mark.parametrize("where", ["sys", "threading"])
def test_a_profile_function_is_refused_and_stays(where):
    module = {"sys": sys, "threading": threading}[where]
    module.setprofile(nothing)
    try:
        with pytest.raises(RecordingError, match=r"profile function is already set.*use Python 3.12"), record():
            pass
        assert module.getprofile() is nothing
    finally:
        module.setprofile(None)


@pytest.mark.skipif(not HAS_MONITORING, reason="before Python 3.12 there is room for one")
def test_a_profile_function_goes_on_beside_a_recording(model):
    seen = []
    sys.setprofile(lambda frame, event, arg: seen.append(frame.f_code.co_name))
    try:
        with record() as recording:
            forward(model)
    finally:
        sys.setprofile(None)
    assert len(recording.modules()) > 10
    assert "_wrapped_call_impl" in seen


def test_a_trace_function_goes_on_without_lines(model):
    """A debugger's; only the zoom lines wants its place, and that only before Python 3.12."""
    seen = []

    def trace(frame, event, arg):
        seen.append(frame.f_code.co_name)

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with record() as recording:
            forward(model)
        assert sys.gettrace() is trace
    finally:
        sys.settrace(before)
    assert "_wrapped_call_impl" in seen
    assert len(recording.modules()) > 10


def test_cprofile_before(model):
    profile = cProfile.Profile()
    profile.enable()
    try:
        if HAS_MONITORING:
            with record() as recording:
                forward(model)
            assert len(recording.modules()) > 10
        else:
            with pytest.raises(RecordingError, match="cProfile"), record():
                pass
            forward(model)
    finally:
        profile.disable()
    assert "_wrapped_call_impl" in functions_in(profile)


# set while the recording runs ----------------------------------------------------------------------------------------


def test_cprofile_inside_a_recording(model):
    profile = cProfile.Profile()
    with record() as recording:
        forward(model)
        profile.enable()
        forward(model)
        profile.disable()
        forward(model)
    assert "_wrapped_call_impl" in functions_in(profile)
    models = recording.modules().query("path == ''")
    if HAS_MONITORING:
        assert len(models) == 3
        assert recording.warnings == []
    else:
        assert len(models) == 1
        assert "what ran after that was not observed" in recording.warnings[0]
    assert sys.getprofile() is None


@pytest.mark.skipif(HAS_MONITORING, reason="sys.monitoring leaves profile functions alone")
def test_a_profile_function_that_was_set_inside_stays_set(model):
    """It is somebody else's: not to be taken off."""
    try:
        with record(steps=1) as recording:
            sys.setprofile(nothing)
            model.generate(input_ids=IDS, attention_mask=torch.ones_like(IDS), max_new_tokens=3, min_new_tokens=3)
        assert sys.getprofile() is nothing
    finally:
        sys.setprofile(None)
    assert "Another profile function was set" in recording.warnings[0]
    assert threading.getprofile() is None


@pytest.mark.skipif(HAS_MONITORING, reason="sys.monitoring leaves trace functions alone")
def test_a_debugger_that_was_started_inside_stays():
    before = sys.gettrace()
    try:
        with record(lines=("ckpt.resolve",)) as recording:
            sys.settrace(nothing)
        assert sys.gettrace() is nothing
    finally:
        sys.settrace(before)
    assert "a debugger, coverage" in recording.warnings[0]


# places of sys.monitoring --------------------------------------------------------------------------------------------


@pytest.mark.skipif(not HAS_MONITORING, reason="sys.monitoring is of Python 3.12")
@pytest.mark.parametrize("taken", [(4,), (3,), (3, 4)], ids=str)
def test_tool_ids_that_are_taken(model, taken):
    for number in taken:
        sys.monitoring.use_tool_id(number, f"tool {number}")
    try:
        if len(taken) == 2:
            with pytest.raises(RecordingError, match=r"taken, by 'tool 4', 'tool 3'\. End one"), record():
                pass
        else:
            with record() as recording:
                forward(model)
            assert len(recording.modules()) > 10
        assert [sys.monitoring.get_tool(number) for number in taken] == [f"tool {number}" for number in taken]
    finally:
        for number in taken:
            sys.monitoring.free_tool_id(number)


# coverage ------------------------------------------------------------------------------------------------------------

SCRIPT = """
    import sys
    import torch
    from helpers import record
    from helpers.events import RecordingError

    def measured(model):
        return model(torch.zeros(1, 2))

    try:
        with record({arguments}) as recording:
            measured(torch.nn.Linear(2, 2))
        print("modules", len(recording.modules()))
    except RecordingError as error:
        print("refused", error)
    measured(torch.nn.Linear(2, 2))
    print("trace", sys.gettrace() is not None, "profile", sys.getprofile())
"""


def run_under_coverage(folder: Path, arguments: str = "", core: str | None = None) -> tuple[str, str]:
    """(what a recorded script printed, the report of its coverage)."""
    pytest.importorskip("coverage", reason="coverage is not installed")
    script = folder / "script.py"
    script.write_text(textwrap.dedent(SCRIPT).format(arguments=arguments))
    paths = [str(Path(__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "COVERAGE_FILE": str(folder / "data")}
    if core:
        environment["COVERAGE_CORE"] = core
    texts = []
    for command in (["run", "--include", str(script), str(script)], ["report", "-m"]):
        ran = subprocess.run(
            [sys.executable, "-m", "coverage", *command], capture_output=True, text=True, timeout=120, env=environment
        )
        assert ran.returncode == 0, ran.stderr
        texts.append(ran.stdout)
    return texts[0], texts[1]


CORES = [None, *(["sysmon"] if HAS_MONITORING else [])]


@pytest.mark.slow
@pytest.mark.parametrize("core", CORES, ids=str)
def test_a_recorded_script_under_coverage(tmp_path, core):
    printed, report = run_under_coverage(tmp_path, core=core)
    assert "modules 1" in printed
    assert "profile None" in printed
    line = next(line for line in report.splitlines() if "script.py" in line)
    missed = line.split("%")[1]
    assert missed.strip() in ("13-14", "14-15")  # the except that did not happen, and nothing else


@pytest.mark.slow
def test_lines_under_coverage(tmp_path):
    """Before Python 3.12 both want sys.settrace."""
    printed, _ = run_under_coverage(tmp_path, arguments="lines=('__main__:measured',)")
    if HAS_MONITORING:
        assert "modules 1" in printed
    else:
        assert "refused A debugger or coverage is running" in printed
        assert "trace True" in printed
