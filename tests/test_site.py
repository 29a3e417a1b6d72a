"""What the site is made of, without Sphinx or a browser: kept executions, pages as text, and the inspection."""

import base64
import gzip
import json
import random
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path

import nbformat
import pytest

from helpers import landmarks, notebooks
from helpers.recording.recorded_with import recorded_with
from helpers.recording.recording import Recording
from helpers.recording.rows import TensorSpec
from helpers.site import (
    SiteError,
    api_page,
    build,
    executions,
    inspection,
    landmark_page,
    notebook_pages,
    start_page,
    status_page,
    twins,
)
from helpers.site.executions import Execution
from helpers.site.notebook_pages import NotebookPage
from helpers.site.players import PlayerPage
from helpers.views.explorers import twin
from tests.notebook_files import code_cell, markdown_cell, result_output, write

TITLE = markdown_cell("# Read a thing\n\n**Time** 7 minutes · **memory** 1 GB · **you need** nothing")
PRINTS = code_cell("import os\nprint(os.environ['TRACE_EXPLORERS'])")


def execution(name: str = "04_loading_weights", **changes) -> Execution:
    values = {
        "name": name, "seconds": 90.0, "peak_bytes": 2**30, "versions": {"transformers": "5.1", "torch": "2.9"},
        "python": "3.11.7", "platform": "Linux x86_64", "device": "the CPU, 2 logical cores", "settings": {},
        "executed_at": "2026-01-02 03:04 UTC",
    }  # fmt: skip
    return Execution(**{**values, **changes})


def page(*cells, name: str = "04_loading_weights", **changes) -> NotebookPage:
    notebook = nbformat.v4.new_notebook(cells=[TITLE, *cells])
    return notebook_pages.make(notebook, execution(name, **changes))


@pytest.fixture(scope="module")
def run() -> PlayerPage:
    from helpers.reference_recording import committed

    return PlayerPage(committed())


# executions ----------------------------------------------------------------------------------------------------------


def test_an_unchanged_notebook_runs_once_and_a_changed_one_again(tmp_path, monkeypatch):
    path = write(tmp_path / "20_small.ipynb", TITLE, PRINTS)
    said = []
    notebook, first = executions.executed(path, tmp_path / "kept", said.append)
    assert notebook.cells[1].outputs[0].text == "page\n"
    if sys.platform == "linux":  # macOS does not tell
        assert 10e6 < first.peak_bytes < 4e9
    assert first.versions["transformers"] == landmarks.installed_version()
    monkeypatch.setattr(executions, "_run", None)  # would fail if it were called
    again, second = executions.executed(path, tmp_path / "kept", said.append)
    assert (again, second) == (notebook, first)
    assert said == ["20_small.ipynb: running"]


def test_what_an_execution_depends_on_is_in_its_fingerprint(tmp_path, monkeypatch):
    path = write(tmp_path / "20_small.ipynb", TITLE, code_cell("1", result_output(1, text__plain="1"), count=1))
    same = executions.fingerprint(path)
    write(path, TITLE, code_cell("1"))
    assert executions.fingerprint(path) == same, "outputs do not count"
    found = {same}
    monkeypatch.setenv("TRACE_DEVICE", "cuda")
    found.add(executions.fingerprint(path))
    monkeypatch.delenv("TRACE_DEVICE")
    monkeypatch.setattr(executions, "installed_versions", lambda: {"torch": "1"})
    found.add(executions.fingerprint(path))
    monkeypatch.setattr(executions, "package_fingerprint", lambda: "other")
    found.add(executions.fingerprint(path))
    write(path, TITLE, code_cell("2"))
    found.add(executions.fingerprint(path))
    assert len(found) == 5


def test_notebooks_of_one_name_in_two_folders_do_not_share_what_they_read(tmp_path):
    reads = code_cell("print(open('data.csv').read())")
    paths = [write(tmp_path / folder / "report.ipynb", TITLE, reads) for folder in "ab"]
    for path in paths:
        (path.parent / "data.csv").write_text(path.parent.name)
    assert executions.fingerprint(paths[0]) != executions.fingerprint(paths[1])


def test_what_an_execution_of_today_does_not_hold_is_not_kept(tmp_path, monkeypatch):
    path = write(tmp_path / "20_small.ipynb", TITLE, PRINTS)
    runs = []

    def run(path, kept):
        runs.append(kept)
        write(kept / path.name, TITLE)
        (kept / "execution.json").write_text(json.dumps(asdict(execution())))

    monkeypatch.setattr(executions, "_run", run)
    executions.executed(path, tmp_path / "kept")
    executions.executed(path, tmp_path / "kept")
    assert len(runs) == 1
    for other in ({**asdict(execution()), "gone": 1}, {"name": "x"}):
        (runs[0] / "execution.json").write_text(json.dumps(other))
        assert executions.executed(path, tmp_path / "kept")[1] == execution()
    assert len(runs) == 3
    executions.executed(path, tmp_path / "kept", again=True)
    assert len(runs) == 4


def test_a_picture_that_is_missing_is_named(tmp_path, monkeypatch, run):
    shutil.copytree(build.DOCS / "site", tmp_path / "docs" / "site")
    shutil.copy(build.DOCS / "glossary.md", tmp_path / "docs")
    monkeypatch.setattr(build, "DOCS", tmp_path / "docs")
    with pytest.raises(SiteError, match=r"docs/step_through\.png, and there is no such file"):
        build.write_sources(tmp_path / "source", [], [], [run], None)


def test_of_two_notebooks_of_one_name_in_two_folders_both_are_kept(tmp_path, monkeypatch):
    paths = [write(tmp_path / folder / "20_small.ipynb", TITLE, PRINTS) for folder in ("a", "b")]
    runs = []

    def run(path, kept):
        runs.append(path)
        write(kept / path.name, TITLE)
        (kept / "execution.json").write_text(json.dumps(asdict(execution())))

    monkeypatch.setattr(executions, "_run", run)
    for path in (*paths, *paths):
        executions.executed(path, tmp_path / "kept")
    assert runs == paths
    write(paths[0], TITLE)
    executions.executed(paths[0], tmp_path / "kept")
    assert len([*(tmp_path / "kept").iterdir()]) == 2, "what was kept of an earlier form is gone"


def test_a_notebook_that_fails_is_named_and_not_kept(tmp_path):
    path = write(tmp_path / "20_wrong.ipynb", code_cell("1 / 0"))
    with pytest.raises(notebooks.NotebookError, match=r"20_wrong\.ipynb did not run to its end"):
        executions.executed(path, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_the_kernel_has_the_committed_environment_but_for_what_the_reader_sets():
    variables = executions.kernel_variables({"TRACE_MODEL": "mine", "MPLBACKEND": "svg", "HOME": "h"})
    assert variables["TRACE_EXPLORERS"] == "page"
    assert variables["TRACE_DEVICE"] == "cpu"
    assert variables["TRACE_MODEL"] == "mine"
    assert variables["HF_HUB_OFFLINE"] == "1"
    assert "MPLBACKEND" not in variables


# pages ---------------------------------------------------------------------------------------------------------------


def test_a_widget_that_needs_a_kernel_says_so_and_one_with_html_shows_that():
    view = {"application/vnd.jupyter.widget-view+json": '{"model_id": "1"}'}
    bare = code_cell("x", result_output(1, text__plain="Sliders <six>", **view))
    both = code_cell("x", result_output(1, text__plain="y", text__html="<b>y</b>", **view))
    made = page(bare, both)
    first, second = (cell.outputs[0].data for cell in made.notebook.cells[1:])
    assert first["text/html"] == (
        '<p class="needs-kernel">Not on this page, because it needs a running notebook: Sliders &lt;six&gt;.</p>'
    )
    assert second == {"text/plain": "y", "text/html": "<b>y</b>"}


def test_the_recordings_of_players_become_files():
    data = gzip.compress(b"{}", mtime=0)
    state = {"recording_file": base64.b64encode(data).decode("ascii"), "other_file": ""}
    html = twin("player", state, "<p>table</p>", "a player")
    made = page(*(code_cell("x", result_output(1, text__html=html, text__plain="p")) for _ in range(2)))
    assert made.recordings == {"04_loading_weights-1.json.gz": data}
    assert [name for name, _ in twins.states(made.notebook)] == ["player", "player"]
    assert made.has_explorers
    banner = notebook_pages.banner_html(made, None)
    assert 'href="../downloads/recordings/04_loading_weights-1.json.gz"' in banner
    assert "Recorded</strong> with transformers 5.1, torch 2.9, on the CPU, 2 logical cores." in banner
    assert "live" not in banner


def test_links_to_notebooks_that_are_not_on_the_site_are_words_and_the_others_stay():
    made = page(markdown_cell("see [03](03_empty_model.ipynb) and [05](05_pipeline.ipynb)"))
    shown = notebook_pages.for_site(made, {"04_loading_weights", "05_pipeline"}, None)
    assert shown.cells[2].source == "see 03 and [05](05_pipeline.ipynb)"
    assert "what-this-is" in shown.cells[1].source
    assert len(made.notebook.cells) == 2, "the page itself is as it was"


def test_the_table_of_steps_joins_versions_with_the_same_function(run):
    text = landmark_page.markdown({"04_loading_weights"}, [run])
    row = next(line for line in text.splitlines() if '<tr id="load.read_tensor"' in line)
    assert 'href="notebooks/04_loading_weights.html"' in row
    assert f'href="player/whole_call_4.47.1.html#step={run.first_events["load.read_tensor"]}"' in row
    assert text.count("<tr id=") == len(landmarks.table())
    moved = next(line for line in text.splitlines() if '<tr id="load.place_param"' in line)
    assert "set_<wbr>module_<wbr>tensor_<wbr>to_<wbr>device" in moved
    assert moved.count("<td") > row.count("<td")


def test_a_step_of_the_player_is_the_first_event_of_its_function(run):
    functions = run.recording.events["function"]
    for landmark, event in run.first_events.items():
        status = next(one for one in run.recording.landmark_statuses if one.id == landmark)
        if landmark != "fwd.module_call":  # its function is that of every module's call
            assert functions[event] == status.function
            assert status.function not in functions[:event]
    observed = run.recording.landmarks(observed_only=True)["landmark"]
    assert set(observed) == set(run.first_events)


def test_the_status_says_what_was_not_observed_and_what_does_not_fit_binder():
    pages = [page(), page(name="05_pipeline", peak_bytes=3 * 2**30)]
    text = status_page.markdown(pages)
    assert "| [04 loading weights](notebooks/04_loading_weights.ipynb) | 1.5 | 1.0 GiB |" in text
    assert "Binder gives 2.0 GiB, which is not enough for 05." in text
    assert "Together 3.0 minutes" in text
    assert "not observed on this system" in status_page.markdown([page(peak_bytes=None)])
    assert text.count("5.1 | 2.9") == 1
    other = page(name="05_pipeline", settings={"TRACE_MODEL": "Llama-2-7b"})
    assert "TRACE_MODEL=Llama-2-7b | 05 |" in status_page.markdown([pages[0], other])


def test_the_start_page_leads_to_notebooks_player_and_knobs_and_no_place_is_left(run):
    template = (build.DOCS / "site" / "index.md").read_text(encoding="utf-8")
    explorer = code_cell("x", result_output(1, text__html=twin("sampling_explorer", {}, "t", "s"), text__plain="s"))
    pages = [page(name="00_the_whole_call"), page(explorer, name="08_sampling")]
    text = start_page.markdown(template, pages, [run])
    assert "<!--" not in text
    assert '<a class="door" href="notebooks/00_the_whole_call.html">' in text
    assert '<a class="door" href="player/whole_call_4.47.1.html">' in text
    assert '<a class="door" href="notebooks/08_sampling.html#explorer-' in text
    assert "[Read a thing](notebooks/08_sampling.ipynb) <small>08 · 7 minutes</small>" in text
    with pytest.raises(SiteError, match="<!-- NOTHING -->"):
        start_page.markdown("<!-- NOTHING -->", pages, [run])


def test_the_api_page_has_every_name_of_the_package_and_every_command():
    import helpers
    import helpers.__main__ as command_line

    text = api_page.markdown()
    for name, home in helpers._HOMES.items():
        assert f"{home}.{name}" in text, name
    for name, *_ in command_line.COMMANDS:
        assert f"### {name}\n\n```text\nusage: " in text


def test_the_foot_of_each_page_is_of_its_own_recording(run):
    told = build.recorded_with([page(), page(name="05_pipeline", device="cuda:0 (A card)")], [run])
    assert told["notebooks/05_pipeline"] == "transformers 5.1, torch 2.9, on cuda:0 (A card)"
    torch = run.recording.environment["torch"]
    assert told["player/whole_call_4.47.1"] == f"transformers 4.47.1, torch {torch}, on the CPU"
    assert f"Recorded with {told['player/whole_call_4.47.1']} (" in run.markdown()
    assert set(told) == {"notebooks/04_loading_weights", "notebooks/05_pipeline", "player/whole_call_4.47.1"}


def test_the_devices_of_a_recording_are_those_of_its_tensors():
    spec = TensorSpec("x", (1,), "float32", "cuda:1", 4, 4)
    specs = [spec, spec._replace(device="meta"), spec._replace(device="cpu")]
    environment = {"transformers": "5.1", "torch": "2.9", "cuda_devices": ["A", "B"]}
    made = recorded_with(Recording(environment=environment, specs=specs))
    assert made == "transformers 5.1, torch 2.9, on cuda:1 (B) and the CPU"
    assert "not observed" in recorded_with(Recording(environment=environment))


# inspection ----------------------------------------------------------------------------------------------------------


def site(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return folder


def test_a_site_without_fault_passes(tmp_path):
    site(tmp_path, index='<a href="other.html#x">x</a><img alt="x" src="data:,">', other='<p id="x">')
    inspection.inspect(tmp_path)


@pytest.mark.parametrize(
    ("html", "problem"),
    [
        ('<a href="gone.html">x</a>', "index.html: the link gone.html leads to no file"),
        ('<a href="#gone">x</a>', "index.html: the link #gone leads to no such place in that page"),
        ('<a href="../x.html">x</a>', "index.html: the link ../x.html leaves the site"),
        ('<img src="data:,x">', "index.html: the picture 'data:,x' has no alt text"),
        ('<img src="data:,x" alt="data:,x">', "index.html: the picture 'data:,x' has no alt text"),
        ('<script src="https://example.org/x.js"></script>', "index.html: it would fetch https://example.org/x.js"),
        ('<link rel="stylesheet" href="//example.org/x.css">', "index.html: it would fetch //example.org/x.css"),
        ('<img alt="x" src="data:," srcset="data:x 1x, //b.org/x 2x">', "index.html: it would fetch //b.org/x"),
        ('<video poster="https://b.org/x">', "index.html: it would fetch https://b.org/x"),
        ('<object data="https://b.org/x">', "index.html: it would fetch https://b.org/x"),
        ('<p style="background: url(https://b.org/x)">', "index.html: it would fetch https://b.org/x"),
        ('<style>p { background: url("//b.org/x") }</style>', "index.html: it would fetch //b.org/x"),
        ("<style>@import 'https://b.org/x';</style>", "index.html: it would fetch https://b.org/x"),
        ('<svg><use href="https://b.org/x"/></svg>', "index.html: it would fetch https://b.org/x"),
        ("<p>hf_abcdefghijklmnop</p>", "index.html holds a secret: hf_abc…"),
        ("<p>planted-in-a-variable</p>", "index.html holds a secret: plante…"),
        (
            "<p>/home/ada/models/x</p>",
            "index.html names a path of this machine: /home/ada/models/x (show path.name in its place)",
        ),
        ("x" * 3_000_001, "index.html weighs 3,000,001 bytes, more than 3,000,000"),
    ],
)
def test_each_fault_is_named(tmp_path, monkeypatch, html, problem):
    monkeypatch.setenv("MY_TOKEN", "planted-in-a-variable")
    site(tmp_path, index=html)
    with pytest.raises(SiteError) as told:
        inspection.inspect(tmp_path)
    assert str(told.value).splitlines()[1:] == [problem]


def test_a_secret_in_a_packed_recording_is_found(tmp_path):
    text = json.dumps({"text": "hf_abcdefghijklmnop"})
    (tmp_path / "run.json.gz").write_bytes(gzip.compress(text.encode("utf-8")))
    with pytest.raises(SiteError, match=r"run\.json\.gz holds a secret: hf_abc…$"):
        inspection.inspect(tmp_path)


@pytest.mark.parametrize("private", ["hf_abcdefghijklmnop", str(Path.home() / "planted")])
def test_what_is_private_is_found_in_a_payload_and_in_a_drawing(tmp_path, private):
    noise = "".join(random.Random(0).choices("abcdefghij klmnop", k=2000))
    packed = base64.b64encode(gzip.compress(f"{noise} {private} end".encode())).decode()
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "site.css").write_text(f"/* {private} */", encoding="utf-8")
    site(tmp_path, index=f'<script type="application/json">{{"recording_file":"{packed}"}}</script>')
    (tmp_path / "drawing.svg").write_text(f"<svg><text>{private}</text></svg>", encoding="utf-8")
    with pytest.raises(SiteError) as told:
        inspection.inspect(tmp_path)
    named = [line.split()[0] for line in str(told.value).splitlines()[1:]]
    assert named == ["_static/site.css", "drawing.svg", "index.html"]


def test_the_date_is_that_of_the_variable_for_reproducible_builds(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    assert build.built_at() == "9 September 2001, 01:46 UTC"
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    assert str(time.gmtime().tm_year) in build.built_at()
