"""No secret and no home directory enters a recording, whatever it is asked to record and however it is shown."""

import base64
import gzip
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from helpers import record
from helpers.probes import redact
from helpers.recorder_settings import DEFAULT_LINES, ZOOMS
from helpers.recording.recording import Recording
from helpers.recording.text import overview
from helpers.views.player import save_page, step_through
from tests.recorded_call import NEW_TOKENS

TOKEN = "hf_FakeTokenOfThisTest0123456789"  # as Hugging Face writes them
SECRET = "correct-horse-battery-staple"  # as nobody does: only the name of its argument tells
FROM_ENVIRONMENT = "a-token-in-the-environment"
SECRETS = (TOKEN, SECRET, FROM_ENVIRONMENT)


def asks_the_hub(token):
    headers = {"Authorization": f"Bearer {token}", "user-agent": "test"}
    message = f"asked with {token}"
    first = message.split()[-1]
    return headers, first


@pytest.fixture
def home(tmp_path, monkeypatch, tiny_checkpoint):
    """A home directory with a private name, and a checkpoint in it."""
    folder = tmp_path / "home-of-alice"
    shutil.copytree(tiny_checkpoint, folder / "models" / "tiny")
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    monkeypatch.setenv("HF_TOKEN", FROM_ENVIRONMENT)
    monkeypatch.setenv("TRACE_CACHE", str(folder / "cache"))
    return folder


def whole_call(checkpoint, *zoom, lines=None) -> Recording:
    with record(*zoom, lines=lines, steps=2) as recording:
        model = AutoModelForCausalLM.from_pretrained(str(checkpoint), token=SECRET)
        tokenizer = AutoTokenizer.from_pretrained(str(checkpoint), token=TOKEN)
        pipe = pipeline(
            "text-generation", model=model, tokenizer=tokenizer, token=TOKEN, device="cpu", max_new_tokens=NEW_TOKENS
        )
        pipe("hello there")
        asks_the_hub(SECRET)
        from huggingface_hub.utils import build_hf_headers, get_token_to_send

        build_hf_headers(token=SECRET)
        get_token_to_send(SECRET)
    return recording


def outputs(recording: Recording, folder: Path) -> dict[str, str]:
    """Everything that a recording can be turned into, as text."""
    texts = {"repr": repr(recording), "html": recording._repr_html_()}
    file = recording.save(folder / "run.json.gz")
    texts["file"] = gzip.decompress(file.read_bytes()).decode()
    texts["trace"] = recording.to_perfetto(folder / "trace.json").read_text()
    zoom = recording.environment["zoom"]
    questions = {
        "landmarks": recording.landmarks, "stages": recording.stages, "calls": recording.calls,
        "parameters": recording.parameters, "shards": recording.shards, "steps": recording.steps,
        "kv_cache": recording.kv_cache, "to_frame": recording.to_frame, "find": lambda: recording.find(".py"),
    }  # fmt: skip
    needed = {"weights": "modules", "transfers": "modules", "memory_phases": "memory"}
    for name in ("modules", "weights", "transfers", "memory", "memory_phases", "sampling", "values", "lines"):
        if needed.get(name, name) in zoom:
            questions[name] = getattr(recording, name)
    for name, ask in questions.items():
        table = ask()
        texts[name] = "\n".join([table._repr_html_(), table.to_csv(), table.to_html(), table.to_string(), repr(table)])
    for name in recording.sources:
        functions = [f"{function.module}:{function.qualname}" for function in recording.functions]
        if name in functions:
            of = functions.index(name)
            event = int((recording.events["function"] == of).argmax())
            texts[f"source of {name}"] = repr(recording.source(event)) + recording.source(event)._repr_html_()
    with record("landmarks") as other:
        pass
    texts["diff"] = recording.diff(other).to_csv() + other.diff(recording).to_csv()
    texts["show"] = overview(file)  # what `python -m helpers show` prints
    return texts | pages(recording, other, folder)


def pages(recording: Recording, other: Recording, folder: Path) -> dict[str, str]:
    """The step-through player: as a page without a kernel, and what it is given, unpacked."""
    page = save_page(recording, folder / "run.html").read_text(encoding="utf-8")
    player = step_through(recording, other)
    given = player.twin_data()
    packed = {name: base64.b64decode(given[name]) for name in ("recording_file", "guide", "other_file", "other_guide")}
    inside = {f"player's {name}": gzip.decompress(data).decode() for name, data in packed.items()}
    return {"page": page, "side by side": player.to_html(), "player's labels": str(given["labels"]), **inside}


def assert_nothing_private(texts: dict[str, str], home: Path) -> None:
    for name, text in texts.items():
        for secret in SECRETS:
            assert secret not in text, (name, around(text, secret))
            assert secret[:12] not in text, (name, around(text, secret[:12]))
        assert str(home) not in text, (name, around(text, str(home)))


def around(text: str, secret: str) -> str:
    place = text.index(secret)
    return text[max(place - 200, 0) : place + len(secret)]


EACH = [("landmarks",), (), ("calls",), ("functions", "modules"), ("values",), ("sampling",)]


@pytest.mark.parametrize("zoom", EACH, ids=lambda zoom: "-".join(zoom) or "default")
def test_no_secret_at_any_zoom(zoom, home, tmp_path):
    recording = whole_call(home / "models" / "tiny", *zoom)
    texts = outputs(recording, tmp_path)
    assert_nothing_private(texts, home)
    assert redact.REDACTED in texts["file"]
    assert os.path.join("~", "models") in texts["file"]


def test_no_secret_at_all_zooms_together_with_lines(home, tmp_path):
    own = f"{__name__}:asks_the_hub"
    recording = whole_call(home / "models" / "tiny", *ZOOMS, lines=(own, *DEFAULT_LINES, "model.from_pretrained"))
    lines = recording.lines()
    assert "headers" in " ".join(lines.loc[lines["function"] == "asks_the_hub", "changed"])  # it was looked at
    texts = outputs(recording, tmp_path)
    assert "lines" in texts
    assert_nothing_private(texts, home)


def test_no_secret_in_a_merged_recording(home, tmp_path, monkeypatch):
    """A rank is what RANK and WORLD_SIZE say, so no group is needed."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    ranks = []
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        ranks.append(whole_call(home / "models" / "tiny", "calls", "modules", "memory"))
    texts = outputs(Recording.merge(ranks), tmp_path)
    assert "rank" in texts["calls"]
    assert_nothing_private(texts, home)
    assert redact.REDACTED in texts["file"]


def test_a_secret_in_the_source_of_the_readers_own_function_is_taken_out(home, tmp_path):
    module = tmp_path / "own_module_of_the_reader.py"
    module.write_text(f"def ask():\n    token = {SECRET!r}\n    return len(token)\n")
    sys.path.insert(0, str(tmp_path))
    try:
        import own_module_of_the_reader

        with record(lines=("own_module_of_the_reader:ask",)) as recording:
            own_module_of_the_reader.ask()
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("own_module_of_the_reader", None)
    assert "def ask" in recording.sources["own_module_of_the_reader:ask"]
    assert SECRET not in str(recording.sources)
    assert SECRET not in recording.lines().to_csv()


@pytest.mark.skipif(transformers.__version__.startswith("5"), reason="5.x has no use_auth_token")
def test_use_auth_token(home, tmp_path):
    with record("calls") as recording, pytest.warns(FutureWarning, match="use_auth_token"):
        AutoModelForCausalLM.from_pretrained(str(home / "models" / "tiny"), use_auth_token=SECRET)
    assert_nothing_private({"file": json.dumps(str(vars(recording)))}, home)


def test_an_exception_that_quotes_a_secret(home, tmp_path):
    # OSError; in 4.57, which takes a folder that is not there for a Hub id, the Hub library's ValueError
    with pytest.raises((OSError, ValueError), match="nothing-here"), record("calls") as recording:
        AutoModelForCausalLM.from_pretrained(str(home / "nothing-here"), token=SECRET)
    file = recording.save(tmp_path / "run.json.gz")
    assert_nothing_private({"file": gzip.decompress(file.read_bytes()).decode()}, home)


def test_a_recorded_script(home, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        from transformers import AutoModelForCausalLM
        AutoModelForCausalLM.from_pretrained({str(home / "models" / "tiny")!r}, token={SECRET!r})
        """)
    )
    output, page = tmp_path / "run.json.gz", tmp_path / "run.html"
    command = [sys.executable, "-m", "helpers", "record", "--zoom", "calls", "-o", str(output), "--html", str(page)]
    command.append(str(script))
    paths = [str(Path(__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    run = subprocess.run(command, capture_output=True, text=True, timeout=180, env=environment)
    assert run.returncode == 0, run.stderr
    told = run.stderr.replace(str(output), "").replace(str(page), "")  # the files that the reader named
    texts = {"file": gzip.decompress(output.read_bytes()).decode(), "page": page.read_text(encoding="utf-8")}
    assert_nothing_private({**texts, "told": told}, home)


# the parts -----------------------------------------------------------------------------------------------------------


def test_a_secret_met_by_name_is_found_again_without_one():
    secrets = redact.SecretValues()
    secrets.note(SECRET)
    secrets.note({"authorization": f"Bearer {TOKEN}", "x": None, "n": 3})
    assert secrets.hidden(f"a {SECRET} b {TOKEN}") == f"a {redact.REDACTED} b {redact.REDACTED}"
    for length in (6, 9, len(SECRET) - 1):
        assert secrets.hidden(f"cut {SECRET[:length]}…") == f"cut {redact.REDACTED}…"
    assert secrets.hidden(f"cut {SECRET[:5]}…") == f"cut {SECRET[:5]}…", "too short to tell"
    assert secrets.hidden(f"not cut: {SECRET[:9]}") == f"not cut: {SECRET[:9]}"
    assert secrets.hidden(5) == 5
    assert not redact.SecretValues()


def test_short_values_are_no_secrets_to_be_found_everywhere():
    secrets = redact.SecretValues()
    secrets.note("fives")
    secrets.note(True)
    assert not secrets
    secrets.note("sixsix")
    assert secrets


@pytest.mark.parametrize(
    ("file", "arguments", "expected"),
    [
        ("transformers/tokenization_utils.py", "self, token", True),
        ("transformers/models/llama/tokenization_llama.py", "self, *, token=None", True),
        ("tokenizers/__init__.py", "self, token", True),
        ("transformers/tokenization_utils.py", "self, text", False),
        ("transformers/utils/hub.py", "token", False),
        *(
            ("transformers/tokenization_utils.py", f"self, token, {name}", False)
            for name in ("cache_dir", "revision", "local_files_only", "repo_id", "pretrained_model_name_or_path")
        ),
    ],
)
def test_a_token_is_a_word_in_a_function_of_a_tokenizer_that_asks_no_hub(file, arguments, expected):
    made = {}
    exec(compile(f"def function({arguments}): pass", f"/site-packages/{file}", "exec"), made)
    assert redact.is_given_a_word(made["function"].__code__) is expected


def test_a_token_of_a_vocabulary_is_no_secret(home, tiny_checkpoint):
    """`token` is what tokenizers call a piece of text too; one that was taken for a secret was taken out everywhere."""
    tokenizer = AutoTokenizer.from_pretrained(str(home / "models" / "tiny"), token=SECRET)
    with record("calls") as recording:
        tokenizer.convert_tokens_to_ids(["attention", "generation", "layer-12"])
        AutoModelForCausalLM.from_pretrained(str(home / "models" / "tiny"), token=SECRET)
    calls = recording.calls()
    given = calls.loc[calls["function"].str.endswith("_convert_token_to_id_with_added_voc"), "arguments"]
    words = [text.rpartition("token=")[2] for text in given]
    assert {"'attention'", "'generation'", "'layer-12'"} <= set(words)
    assert redact.REDACTED not in str(words)
    told = str(recording.value_lists) + str(recording.sources)
    assert "num_attention_heads" in told
    assert "num_<redacted>" not in told
    assert SECRET not in told


def test_what_goes_by_the_name_of_a_token_is_looked_for_only_where_it_looks_like_one():
    secrets = redact.SecretValues()
    for word in ("generation", "<|im_start|>", "two words 2"):
        secrets.note(word, "token")
    assert not secrets
    secrets.note("generation", "password")
    secrets.note("abc-def", "token")
    assert secrets.hidden("generation abc-def") == f"{redact.REDACTED} {redact.REDACTED}"


def test_of_two_secrets_of_which_one_begins_with_the_other_nothing_stays():
    secrets = redact.SecretValues()
    secrets.note("abcdef")
    secrets.note("abcdefgh")
    assert secrets.hidden("abcdefgh abcdef") == f"{redact.REDACTED} {redact.REDACTED}"


def test_names_that_begin_like_a_token_stay():
    assert redact.text("hf_quantizer") == "hf_quantizer"
    assert redact.text("_is_hf_initialized") == "_is_hf_initialized"


def test_a_secret_at_the_place_of_the_cut_does_not_show():
    long = "x" * 150 + TOKEN
    assert "hf_Fake" not in redact.text(long)
    home = os.path.expanduser("~")
    many = f"{home}/" * 2000 + TOKEN
    assert home not in redact.text(many)
    assert len(redact.text(many)) <= redact.LONGEST_TEXT


def test_a_home_that_is_a_link_is_shortened_both_ways(tmp_path, monkeypatch):
    real, link = tmp_path / "real-home-of-alice", tmp_path / "link-to-home"
    real.mkdir()
    link.symlink_to(real)
    monkeypatch.setenv("HOME", str(link))
    assert redact.text(str(link / "x")) == redact.text(str(real / "x")) == os.path.join("~", "x")


@pytest.mark.parametrize(
    "variable", ["A_TOKEN", "secret", "A_PASSWORD", "A_PASSWD", "A_API_KEY", "A_ACCESS_KEY", "SOME_CREDENTIALS"]
)
def test_what_a_page_would_tell_of_the_environment_is_named_by_its_beginning(variable):
    found = redact.secrets_in("x planted-here x planted-here", {variable: "planted-here"})
    assert found == ["plante…"]
    assert redact.secrets_in("x planted-here", {f"{variable}_FILE": "planted-here"}) == []
    assert redact.secrets_in("elevenchars", {variable: "elevenchars"}) == [], "a word, that many texts may have"
    assert redact.secrets_in("another text", {variable: "planted-here"}) == []


def test_the_result_is_the_same_with_a_token(home):
    torch.manual_seed(0)
    plain = AutoModelForCausalLM.from_pretrained(str(home / "models" / "tiny"), token=SECRET)
    with record("calls"):
        recorded = AutoModelForCausalLM.from_pretrained(str(home / "models" / "tiny"), token=SECRET)
    for (name, first), (_, second) in zip(plain.named_parameters(), recorded.named_parameters(), strict=True):
        assert torch.equal(first, second), name
