"""step_through(): what it takes and refuses, what it shows without scripts, and how large its page is."""

import gzip
import json

import pytest

from helpers import record, reference_recording, step_through
from helpers.__main__ import main
from helpers.events import RecordingError
from helpers.recording.recording import Recording
from helpers.recording.text import overview
from helpers.views import player, player_payload
from tests.player_recording import player_recording


@pytest.fixture(scope="module")
def recording(tiny_checkpoint, tmp_path_factory) -> Recording:
    return player_recording(tiny_checkpoint, tmp_path_factory.mktemp("six layers"))


@pytest.fixture(scope="module")
def guide(recording) -> dict:
    return json.loads(gzip.decompress(player_payload.packed_guide(recording)))


def test_the_player_holds_the_file_of_the_recording(recording, tmp_path):
    path = tmp_path / "run.json.gz"
    path.write_bytes(step_through(recording).recording_file)
    assert Recording.load(path) == recording


def test_a_path_will_do_for_a_recording(recording, tmp_path):
    path = recording.save(tmp_path / "run.json.gz")
    assert step_through(path).recording_file == step_through(recording).recording_file
    assert step_through(str(path)).labels == step_through(recording).labels


def test_the_guide_has_stages_landmarks_and_links(recording, guide):
    assert [row["stage"] for row in guide["stages"]][:10] == list(range(1, 11))
    assert {row["id"] for row in guide["landmarks"]} >= {row.id for row in recording.landmark_statuses}
    base = guide["permalinks"]["transformers"]["base"]
    event = int(recording.find("modeling_utils.py")["event"].iloc[0])
    source = recording.source(event)
    assert source.permalink == f"{base}{source.file}#L{source.first_line}-L{source.last_line}"
    assert guide["differences"] is None


def test_the_guide_has_the_installed_sources_that_did_not_travel(recording, guide):
    sources = guide["sources"]
    event = int(recording.find("act_fn")["event"].iloc[0])
    function = recording.functions[recording.events["function"][event]]
    assert sources[f"{function.module}:{function.qualname}"] == recording.source(event).text
    assert not set(sources) & set(recording.sources)
    elsewhere = Recording(**vars(recording))
    elsewhere.environment = recording.environment | {"transformers": "4.0.0", "torch": "1.0.0"}
    assert json.loads(gzip.decompress(player_payload.packed_guide(elsewhere)))["sources"] == {}


def test_two_recordings_bring_their_differences(recording, tiny_checkpoint):
    with record() as other:
        pass
    shown = step_through(recording, other)
    rows = json.loads(gzip.decompress(shown.guide))["differences"]
    assert len(rows) == len(recording.diff(other))
    assert {row["what"] for row in rows} >= {"gone"}
    assert len(shown.labels) == 2
    assert shown.labels[0] != shown.labels[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere.json.gz",), "There is no recording at nowhere.json.gz"),
        ((42,), "takes a Recording or the path of one, not int"),
        ((None,), "not NoneType"),
    ],
)
def test_what_is_no_recording_is_refused(arguments, message):
    with pytest.raises(RecordingError, match=message):
        step_through(*arguments)


def test_a_running_or_damaged_recording_is_refused(recording, tmp_path):
    with record() as running, pytest.raises(RecordingError, match="still running"):
        step_through(running)
    path = recording.save(tmp_path / "run.json.gz")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(RecordingError, match="not a readable recording"):
        step_through(path)


@pytest.mark.parametrize("event", [-1, 10**6, True, "3"])
def test_an_event_that_there_is_not_is_refused(recording, event):
    with pytest.raises(RecordingError, match=r"event"):
        step_through(recording, event=event)


def test_without_scripts_there_are_tables(recording):
    html = step_through(recording).static_html()
    assert html.count("<table>") == 2
    for text in ("weight loading", "gen.sample", "GenerationMixin._sample", "(1, 1, "):
        assert text in html
    assert "<script" not in html


def test_each_warning_is_told_once_where_no_script_runs(recording, tmp_path):
    copy = Recording.load(recording.save(tmp_path / "copy.json.gz"))
    copy.warnings.append("half of it is missing")
    assert step_through(copy).static_html().count("half of it is missing") == 1


def test_hostile_names_are_text_in_the_table(recording, tmp_path):
    copy = Recording.load(recording.save(tmp_path / "run.json.gz"))
    copy.functions[0] = copy.functions[0]._replace(qualname="</script><img src=x onerror=alert(1)>")
    copy.warnings.append("<b>warned</b>")
    html = step_through(copy).static_html()
    assert "<img" not in html
    assert "&lt;img" in html
    assert "<b>warned" not in html


def test_its_text_is_the_same_for_every_recording(recording):
    assert repr(step_through(recording)) == repr(step_through(reference_recording.committed())) == player.TEXT


def test_two_recordings_are_told_apart_by_what_differs(recording, tmp_path):
    def but(change) -> Recording:
        copy = Recording.load(recording.save(tmp_path / "run.json.gz"))
        change(copy)
        return copy

    def on_gpu(copy):
        copy.loads = [row._replace(device="cuda:0") for row in copy.loads]

    def in_bfloat16(copy):
        copy.loads = [row._replace(dtype="bfloat16") for row in copy.loads]

    version = f"transformers {recording.environment['transformers']}"
    eager = but(lambda copy: copy.environment.update(models=["LlamaForCausalLM with eager attention"]))
    other_class = but(lambda copy: copy.environment.update(models=["BertForMaskedLM with sdpa attention"]))
    for other, ours, theirs in (
        (recording, "", ""),
        (eager, ", sdpa attention", ", eager attention"),
        (other_class, ", LlamaForCausalLM", ", BertForMaskedLM"),
        (but(on_gpu), ", cpu", ", cuda:0"),
        (but(in_bfloat16), ", float32", ", bfloat16"),
    ):
        assert step_through(recording, other).labels == [f"A: {version}{ours}", f"B: {version}{theirs}"]
    with record() as nothing:
        pass
    told = f"{version}, LlamaForCausalLM, sdpa attention, float32, cpu"
    without = f"{version}, attention not observed, no tensors"
    assert step_through(recording, nothing).labels == [f"A: {told}", f"B: {without}"]
    older = but(lambda copy: (copy.environment.update(transformers="4.47.1"), in_bfloat16(copy)))
    assert step_through(older, recording).labels == ["transformers 4.47.1, bfloat16", f"{version}, float32"]
    assert step_through(recording).labels == [version]


def test_shown_as_text_a_foreign_recording_cannot_speak_to_the_terminal(recording, tmp_path):
    file = recording.save(tmp_path / "run.json.gz")
    foreign = Recording.load(file)
    foreign.warnings = ["\x1b]0;another title\x07red \x1b[31m"]
    foreign.save(file)
    assert r"warning: \u001b]0;another title\u0007red \u001b[31m" in overview(file)


def test_show_writes_a_page(recording, tmp_path, capsys):
    path = recording.save(tmp_path / "run.json.gz")
    assert main(["show", str(path), "--html", str(tmp_path / "page.html")]) == 0
    assert "open " in capsys.readouterr().out
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert 'data-explorer="player"' in page


@pytest.mark.parametrize("name", ["page.txt", "no/such/folder/page.html"])
def test_show_refuses_a_place_for_no_page(recording, tmp_path, capsys, name):
    path = recording.save(tmp_path / "run.json.gz")
    assert main(["show", str(path), "--html", str(tmp_path / name)]) == 1
    assert "--html" in capsys.readouterr().err


def _on_a_full_disk(recording, page):
    raise OSError(28, "full", str(page.with_name(f".{page.name}.1a2b")))


def test_what_cannot_be_written_is_told_in_one_line_that_names_the_option(recording, tmp_path, monkeypatch, capsys):
    path = recording.save(tmp_path / "run.json.gz")
    monkeypatch.setattr(player, "save_page", _on_a_full_disk)
    assert main(["show", str(path), "--html", str(tmp_path / "page.html")]) == 1
    assert capsys.readouterr().err == f"error: --html {tmp_path / 'page.html'}: it cannot be written there (full).\n"
    figure = path / "x.png"  # in no folder, but a file
    assert main(["forecast", "llama-2-7b", "--figure", str(figure)]) == 1
    told = capsys.readouterr().err.splitlines()
    assert [line for line in told if "error: --figure" in line and "cannot be written there" in line] == told[-1:]
