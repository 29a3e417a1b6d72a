"""`python -m helpers record SCRIPT.py`: the script ends as without it, and the recording is there."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from script_runs import GENERATE, NEW_TOKENS, arguments_of, run, run_recorded, split

from helpers import __main__ as command_line
from helpers import record_script, started_program
from helpers.project import ROOT
from helpers.recording.recording import Recording


@pytest.fixture
def script(tmp_path, tiny_checkpoint):
    """Writes a script; returns its path."""

    def write(text: str, *, generates: bool = True, name: str = "own script.py"):
        path = tmp_path / "scripts" / name
        path.parent.mkdir(exist_ok=True)
        start = f"CHECKPOINT = {str(tiny_checkpoint)!r}{GENERATE}" if generates else ""
        path.write_text(start + textwrap.dedent(text), encoding="utf-8")
        return path

    return write


@pytest.fixture
def output(tmp_path):
    return tmp_path / "run.json.gz"


# the script ends as without it ---------------------------------------------------------------------------------------

ENDINGS = {
    "normal": ("print('out')", 0),
    "exit status": ("import sys; print('out'); sys.exit(3)", 3),
    "exit message": ("import sys; sys.exit('no more')", 1),
    "exception": ("def fails():\n    raise ValueError('on purpose')\nfails()", 1),
    "chained": ("try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise KeyError(1) from e", 1),
    "missing module": ("import no_such_module", 1),
    "syntax error": ("def broken(:\n", 1),
    "own excepthook": ("import sys\nsys.excepthook = lambda *a: print(a[0], a[2].tb_lineno)\n1 / 0", 1),
    "atexit": ("import atexit, sys\natexit.register(print, 'last')\nsys.exit(2)", 2),
    "thread": ("import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.3), print('late'))).start()", 0),
    "idle pool": ("from concurrent.futures import *\nprint(ThreadPoolExecutor(1).submit(abs, -1).result())", 0),
    "processes": (
        "import multiprocessing as m\ndef f(x): return -x\n"
        "if __name__ == '__main__':\n    with m.get_context('spawn').Pool(1) as pool: print(pool.map(f, [1]))",
        0,
    ),
    "interruption": ("import os, signal\nos.kill(os.getpid(), signal.SIGINT)", -signal.SIGINT),
    "termination": (
        "import atexit, os, signal\natexit.register(print, 'last')\nos.kill(os.getpid(), signal.SIGTERM)",
        -signal.SIGTERM,
    ),
    "own handler of termination": (
        "import os, signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(4))\n"
        "os.kill(os.getpid(), signal.SIGTERM)",
        4,
    ),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_output_status_and_traceback_are_the_scripts(ending, script, output):
    text, status = ENDINGS[ending]
    path = script(text, generates=False)
    plain, recorded = run(path), run_recorded(path, output)
    stderr, line = split(recorded.stderr)
    assert (recorded.returncode, recorded.stdout, stderr) == (plain.returncode, plain.stdout, plain.stderr)
    assert plain.returncode == status
    why = "transformers was not imported" + " in this process, and" * (ending == "processes")
    assert line.startswith(f"helpers: nothing was recorded, and {output} was not written: {why}")
    assert not output.exists()


RECORDED = {
    "exit status": ("generate(); sys.exit(3)", 3, "SystemExit"),
    "exception": ("def fails():\n    generate()\n    raise ValueError('on purpose')\nfails()", 1, "ValueError"),
    "atexit": ("import atexit\natexit.register(generate)", 0, None),
    "thread": ("import threading\nthreading.Thread(target=generate).start()", 0, None),
}


def test_an_out_of_memory_error_of_the_script_is_told(script, output):
    assert run_recorded(script("generate()\nraise MemoryError('no room for it')"), output).returncode == 1
    environment = Recording.load(output).environment
    assert (environment["ended_by"], environment["out_of_memory"]) == ("MemoryError", "no room for it")


@pytest.mark.parametrize("ending", RECORDED)
def test_however_the_script_ends_the_recording_is_there(ending, script, output):
    text, status, ended_by = RECORDED[ending]
    path = script(text)
    result = run_recorded(path, output)
    stderr, line = split(result.stderr)
    recording = Recording.load(output)
    assert result.returncode == status
    assert line == f"helpers: {len(recording)} events recorded in {output}\n"
    assert recording.environment.get("ended_by") == ended_by
    assert list(recording.steps()["step"]) == list(range(NEW_TOKENS))
    assert recording.calls().set_index("function").loc["GenerationMixin.generate", "status"] == "returned"
    assert [text for text in stderr.splitlines() if "File" in text and str(path) not in text] == []


def interrupt(arguments: dict, ready: str) -> tuple[int, str]:
    """Start, wait for a line, send Ctrl-C; (exit status, stderr)."""
    process = subprocess.Popen(**arguments)
    assert process.stdout.readline() == ready
    time.sleep(0.2)  # so that it is in its sleep, not still in print
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    return process.returncode, stderr


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is a signal on POSIX only")
def test_an_interruption_keeps_the_recording_and_is_told_to_the_shell(script, output):
    path = script("generate(); print('ready', flush=True)\nimport time; time.sleep(60)")
    status, stderr = interrupt(arguments_of("-m", "helpers", "record", "-o", output, path), "ready\n")
    assert status == -signal.SIGINT  # a shell shows it as 130
    assert [text.split(",")[0] for text in stderr.splitlines() if "File" in text] == [f'  File "{path}"']
    recording = Recording.load(output)
    assert recording.environment["ended_by"] == "KeyboardInterrupt"
    assert len(recording.steps()) == NEW_TOKENS


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is a signal on POSIX only")
def test_an_interruption_within_generate_is_seen_in_the_recording(script, output):
    path = script(
        """
        import os, signal, transformers
        class Interrupts(transformers.StoppingCriteria):
            def __call__(self, input_ids, scores, **kwargs):
                os.kill(os.getpid(), signal.SIGINT)
        try:
            inputs = tokenizer("hello", return_tensors="pt")
            model.generate(**inputs, max_new_tokens=3, stopping_criteria=[Interrupts()])
        except KeyboardInterrupt:
            print("interrupted")
        """
    )
    assert run_recorded(path, output).stdout == "interrupted\n"
    recording = Recording.load(output)
    assert recording.calls().set_index("function").loc["GenerationMixin.generate", "status"] == "raised"
    assert "ended_by" not in recording.environment


@pytest.mark.skipif(os.name != "posix", reason="SIGTERM is a signal on POSIX only")
def test_a_termination_within_generate_keeps_the_recording(script, output):
    path = script(
        """
        import os, signal, transformers
        class Terminates(transformers.StoppingCriteria):
            def __call__(self, input_ids, scores, **kwargs):
                os.kill(os.getpid(), signal.SIGTERM)
        inputs = tokenizer("hello", return_tensors="pt")
        if os.fork() == 0:
            os.kill(os.getpid(), signal.SIGTERM)  # the child's: the recording is its parent's
        print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
        model.generate(**inputs, max_new_tokens=3, stopping_criteria=[Terminates()])
        """
    )
    result = run_recorded(path, output)
    assert (result.returncode, result.stdout) == (-signal.SIGTERM, f"{-signal.SIGTERM}\n")
    recording = Recording.load(output)
    assert split(result.stderr)[1] == f"helpers: {len(recording)} events recorded in {output}\n"
    assert recording.environment["ended_by"] == "Terminated"
    assert recording.calls().set_index("function").loc["GenerationMixin.generate", "status"] == "open"
    assert list(recording.steps()["step"]) == [0]


# the script finds what it finds without it ---------------------------------------------------------------------------


def test_arguments_paths_names_and_modules_are_the_scripts(script, output):
    beside = "import sys\ncaller = sys.modules['__main__'].__file__\n"
    script(beside, generates=False, name="beside.py")
    path = script(
        """
        import os, pickle, sys, beside
        class Own: pass
        print(sys.argv, sys.path, __name__, __file__, __package__, __spec__, beside.caller, __loader__.path)
        print(pickle.loads(pickle.dumps(Own())).__class__)
        print(sorted({"torch", "transformers", "numpy"} & set(sys.modules)))
        """,
        generates=False,
    )
    arguments = ("-o", "other.txt", "--zoom", "wide", "--", "-x", "")
    plain = run(path, *arguments)
    recorded = run_recorded(path, output, *arguments)
    assert plain.returncode == 0
    assert "[]" in plain.stdout
    assert recorded.stdout == plain.stdout


def test_environment_variables_that_the_script_sets_before_its_imports_count(script, output):
    path = script(
        """
        import os
        os.environ["HF_HOME"] = "/of/the/script"
        from transformers import AutoConfig
        from huggingface_hub import constants
        print(constants.HF_HOME)
        """,
        generates=False,
    )
    recorded = run_recorded(path, output)
    assert recorded.stdout == "/of/the/script\n"
    assert recorded.stderr == f"helpers: no function of the call path ran; an empty recording is in {output}\n"
    assert len(Recording.load(output)) == 0


@pytest.mark.slow
def test_the_file_lies_where_it_was_asked_for_even_if_the_script_goes_elsewhere(script, tmp_path):
    path = script("import os, tempfile; os.chdir(tempfile.gettempdir()); generate()")
    result = subprocess.run(
        **{**arguments_of("-m", "helpers", "record", path, "-o", "here.json.gz"), "cwd": tmp_path}, timeout=120
    )
    assert result.returncode == 0
    assert len(Recording.load(tmp_path / "here.json.gz")) > 0


@pytest.mark.slow
def test_a_forked_child_leaves_the_file_to_its_parent(script, output):
    if not hasattr(os, "fork"):
        pytest.skip("no fork on this system")
    path = script(
        """
        import os
        child = os.fork()
        if child == 0:
            sys.exit(5)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        generate()
        """
    )
    result = run_recorded(path, output)
    assert result.stdout == "5\n"
    assert result.stderr.count("helpers: ") == 1
    assert len(Recording.load(output).steps()) == NEW_TOKENS


@pytest.mark.slow
def test_a_script_that_records_itself_is_told_why_it_cannot_or_can(script, output):
    path = script(
        f"""
        sys.path.append({str(ROOT)!r})
        from helpers import record
        from helpers.events import RecordingError
        try:
            with record() as own:
                generate()
            print(len(own) > 0)
        except RecordingError as error:
            generate()
            print(error)
        """
    )
    result = run_recorded(path, output)
    assert result.returncode == 0
    assert result.stdout.startswith("True" if sys.version_info >= (3, 12) else "A profile function is already set")
    assert len(Recording.load(output).steps()) == NEW_TOKENS


@pytest.mark.slow
def test_a_recording_that_cannot_begin_lets_the_script_run_and_says_why(script, output):
    path = script("import sys; sys.setprofile(print if False else lambda *a: None)\nimport transformers; print('ran')",
                  generates=False)  # fmt: skip
    result = run_recorded(path, output)
    assert (result.returncode, result.stdout) == (0, "ran\n")
    if sys.version_info < (3, 12):
        assert "nothing was recorded" in result.stderr
        assert "A profile function is already set" in result.stderr
        assert not output.exists()


# options -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_options_may_stand_behind_the_scripts_arguments(script, output):
    path = script("generate(); print(sys.argv[1:])")
    tail = ("-o", output, "--zoom", "landmarks", "--zoom", "memory", "--steps", "all")
    result = run("-m", "helpers", "record", path, "--steps", "100", "-o", "mine", *tail)
    assert result.stdout == "['--steps', '100', '-o', 'mine']\n"
    recording = Recording.load(output)
    assert recording.environment["zoom"] == ["landmarks", "memory"]
    assert list(recording.steps()["kept"]) == [True] * NEW_TOKENS


REFUSED = {
    "missing script": (["none.py", "-o", "run.json.gz"], "none.py cannot be read"),
    "no python file": (["README.md", "-o", "run.json.gz"], "not a Python script"),
    "a folder": (["folder.py", "-o", "run.json.gz"], "folder.py cannot be read"),
    "no output": (["own.py"], "-o run.json.gz"),
    "output in no folder": (["own.py", "-o", "none/run.json.gz"], "there is no folder"),
    "output is a folder": (["own.py", "-o", "folder.json"], "is a folder"),
    "output of another kind": (["own.py", "-o", "model.bin"], "ends in .json.gz or .json"),
    "unknown zoom": (["own.py", "-o", "run.json.gz", "--zoom", "modles"], "There is no zoom 'modles'"),
    "no steps": (["-o", "run.json.gz", "--steps", "0", "own.py"], "steps=0"),
    "option behind -o": (["own.py", "-o", "run.json.gz", "--verbose"], "unrecognized arguments: --verbose"),
    "module of the same name": (["clash/own.py", "-o", "run.json.gz"], "module named 'helpers'"),
}


@pytest.fixture
def refusing_folder(tmp_path, monkeypatch):
    for name in ("folder.py", "folder.json", "clash"):
        (tmp_path / name).mkdir()
    for name in ("own.py", "clash/own.py"):
        (tmp_path / name).write_text("raise AssertionError('the script ran')")
    (tmp_path / "clash" / "helpers.py").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_recorded_is_one_clear_error_and_nothing_runs(what, refusing_folder, capsys):
    arguments, message = REFUSED[what]
    before = sorted(refusing_folder.rglob("*"))
    assert command_line.main(["record", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert sorted(refusing_folder.rglob("*")) == before


def test_a_folder_that_cannot_be_written_is_refused_before_the_script_runs(refusing_folder, capsys, monkeypatch):
    def denied(**keywords):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(record_script.tempfile, "TemporaryFile", denied)  # permissions do not bind root
    assert command_line.main(["record", "own.py", "-o", "run.json.gz"]) == 2
    assert "nothing can be written to" in capsys.readouterr().err


def test_a_data_folder_named_as_this_package_hides_nothing(refusing_folder):
    (refusing_folder / "helpers").mkdir()
    assert started_program._checked_source("own.py").startswith(b"raise")


@pytest.mark.slow
def test_a_recording_that_cannot_be_saved_is_said_and_the_status_stays(script, tmp_path):
    folder = tmp_path / "goes"
    folder.mkdir()
    path = script(
        f"import os, transformers.generation; os.rmdir({str(folder)!r}); open({str(folder)!r}, 'w')\nsys.exit(4)"
    )
    result = run_recorded(path, folder / "run.json.gz")
    assert result.returncode == 4
    assert "error: the recording could not be saved" in result.stderr
    assert "Traceback" not in result.stderr


# show ----------------------------------------------------------------------------------------------------------------


def test_show_prints_stages_and_landmarks(script, output):
    run_recorded(script("generate(); raise ValueError"), output)
    result = run("-m", "helpers", "show", output)
    assert result.returncode == 0
    assert "ended by ValueError" in result.stdout
    assert any(line.split()[:3] == ["7", "gen.generate", "1"] for line in result.stdout.splitlines())
    assert "weight loading" in result.stdout


def test_show_of_no_recording_is_one_clear_error(tmp_path):
    result = run("-m", "helpers", "show", tmp_path / "none.json.gz")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"error: There is no recording at {tmp_path / 'none.json.gz'}.\n"
