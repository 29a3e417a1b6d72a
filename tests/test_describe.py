"""Descriptions: structure only, nothing held, nothing executed, nothing secret."""

import collections
import gc
import os
import weakref
from pathlib import Path

import pytest
import torch

from helpers.probes.describe import Describer
from helpers.probes.modules import ModuleNames
from helpers.probes.redact import REDACTED, source_path, text


def values_of(**named) -> dict:
    describer = Describer()
    _, values = describer.describe(named.items())
    return dict(describer.value_lists[values])


def specs_of(**named):
    describer = Describer()
    tensors, _ = describer.describe(named.items())
    return [describer.specs[index] for index in describer.tensor_lists[tensors]]


def test_a_tensor_is_described_by_shape_dtype_device_and_bytes():
    (spec,) = specs_of(x=torch.zeros(2, 3, dtype=torch.bfloat16))
    assert spec == ("x", (2, 3), "bfloat16", "cpu", 12, 12)


def test_a_view_tells_the_storage_behind_it():
    (spec,) = specs_of(x=torch.zeros(10, 10)[:1])
    assert (spec.nbytes, spec.storage) == (40, 400)


@pytest.mark.parametrize(
    ("tensor", "shape"),
    [
        (torch.empty(4, 5, device="meta"), (4, 5)),
        (torch.zeros(0, 3), (0, 3)),
        (torch.eye(3).to_sparse(), (3, 3)),
        (torch.nn.Parameter(torch.zeros(2)), (2,)),
        (torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8), (3,)),
    ],
    ids=["meta", "empty", "sparse", "parameter", "quantised"],
)
def test_unusual_tensors(tensor, shape):
    (spec,) = specs_of(x=tensor)
    assert spec.shape == shape


def test_equal_descriptions_are_kept_once():
    describer = Describer()
    first = describer.describe([("x", torch.zeros(2))])
    again = describer.describe([("x", torch.ones(2))])
    assert first == again
    assert len(describer.specs) == 1


def test_nothing_is_held():
    describer = Describer()
    tensor = torch.zeros(1000)
    gone = weakref.ref(tensor)
    describer.describe([("x", [tensor, {"y": tensor}])])
    del tensor
    gc.collect()
    assert gone() is None


def test_containers_are_opened_by_path():
    specs = specs_of(x=(torch.zeros(1), {"key": torch.zeros(2)}), y=collections.UserDict(ids=torch.zeros(3)))
    assert [spec.path for spec in specs] == ["x.0", "x.1.key", "y.ids"]


def test_long_and_deep_containers_are_named_only():
    assert values_of(x=list(range(100)))["x"] == "<list of 100>"
    assert values_of(x=[[[[1]]]]) == {"x.0.0.0": "<list of 1>"}


def test_plain_values_and_types():
    seen = values_of(
        none=None,
        flag=True,
        count=3,
        ratio=0.5,
        dtype=torch.float16,
        device=torch.device("cpu"),
        kind=dict,
        path=Path("a/b"),
    )
    assert seen == {
        "none": None,
        "flag": True,
        "count": 3,
        "ratio": 0.5,
        "dtype": "torch.float16",
        "device": "cpu",
        "kind": "class dict",
        "path": str(Path("a/b")),
    }


def test_bool_and_int_do_not_share_a_description():
    describer = Describer()
    assert describer.describe([("x", True)]) != describer.describe([("x", 1)])


def test_numbers_that_json_cannot_hold_are_texts():
    assert values_of(a=float("nan"), b=float("-inf")) == {"a": "nan", "b": "-inf"}
    assert values_of(a=2**63 - 1, b=2**63, c=[-(2**63)], d=2**40_000) == {
        "a": 2**63 - 1, "b": str(2**63), "c.0": str(-(2**63)), "d": "<int of 40001 bits>",
    }  # fmt: skip


def test_repr_is_never_called():
    class Loud:
        def __repr__(self):
            raise AssertionError("repr was called")

        __str__ = __len__ = __iter__ = __repr__

    assert values_of(x=Loud()) == {"x": "<Loud>"}


def test_an_object_that_raises_is_not_observed_and_does_not_stop_the_run():
    class Broken(type(Path())):
        def __fspath__(self):
            raise RuntimeError("broken")

    assert values_of(x=Broken("a")) == {"": "<not observed: RuntimeError while reading it>"}


def test_containers_are_opened_by_their_own_class_not_by_what_a_subclass_says():
    class Liar(list):
        def __len__(self):
            raise RuntimeError("not to be asked")

        __iter__ = __getitem__ = __len__

    assert values_of(x=Liar([3])) == {"x.0": 3}


@pytest.mark.parametrize(
    "name",
    [
        "token", "use_auth_token", "hf_token", "hub_token", "api-token", "auth_token", "access_token", "bearer-token",
        "refreshtoken", "session_token", "auth", "Authorization", "Proxy-Authorization", "api_key", "x-api-key",
        "AccessKey", "aws_secret_key", "private-key", "secret", "client_secret", "password", "passwd", "headers",
        "cookie", "cookies", "Set-Cookie", "credential", "credentials", "proxies",
    ],
)  # fmt: skip
def test_secret_names_are_redacted_without_a_look(name):
    assert values_of(**{name: "abc"}) == {name: REDACTED}
    assert values_of(x={name: "abc"}) == {f"x.{name}": REDACTED}
    assert values_of(**{name: None}) == {name: None}


def test_names_that_only_look_secret_are_kept():
    plain = {"pad_token": "</s>", "max_new_tokens": 3, "tokenizer_file": "a.json", "secretary": "Ada"}
    assert values_of(**plain) == plain


def test_the_number_of_a_token_is_no_secret():
    """As fill-mask gives it beside its text."""
    assert values_of(x={"token": 56}) == {"x.token": 56}
    assert values_of(token=True, password=56) == {"token": REDACTED, "password": REDACTED}


def test_secrets_in_texts_are_redacted(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "not-a-usual-token")
    assert text("see hf_abcdefghijkl here") == f"see {REDACTED} here"
    assert text("see hf_abcdefghijk here") == "see hf_abcdefghijk here"
    assert text("not-a-usual-token") == REDACTED
    assert text("Bearer abc.def") == REDACTED
    assert text("authorization: bearer abcdefghijklmnop") == f"authorization: {REDACTED}"
    assert text("bearer abcdefghijklmno") == "bearer abcdefghijklmno"
    assert text("the bearer of news") == "the bearer of news"
    address = "https://example.org/x?X-Amz-Signature=0f3&a=1&token=abc"
    assert text(address) == f"https://example.org/x?{REDACTED}&a=1&{REDACTED}"
    signed = "https://example.org/x?Signature=0f3&sig=a%2B&policy=eyJ&access_token=abc&Key-Pair-Id=K1"
    assert text(signed) == f"https://example.org/x?{'&'.join([REDACTED] * 4)}&Key-Pair-Id=K1"
    assert text("https://user:secret@example.org/x") == f"https://{REDACTED}@example.org/x"


@pytest.mark.parametrize("variable", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACEHUB_API_TOKEN"])
def test_a_secret_of_the_environment_is_redacted_where_it_is_long_enough(monkeypatch, variable):
    monkeypatch.setenv(variable, "sixsix")
    assert text("a sixsix b") == f"a {REDACTED} b"
    monkeypatch.setenv(variable, "five5")
    assert text("a five5 b") == "a five5 b"


def test_the_home_directory_is_shortened():
    assert text(str(Path.home() / "models" / "x")) == os.path.join("~", "models", "x")


def test_a_cache_folder_of_the_readers_own_is_shortened(monkeypatch, tmp_path):
    monkeypatch.setenv("TRACE_CACHE", str(tmp_path))
    assert text(str(tmp_path / "checkpoints")) == os.path.join("$TRACE_CACHE", "checkpoints")
    monkeypatch.setenv("TRACE_CACHE", os.path.join("~", "kept"))
    assert text(str(Path.home() / "kept" / "x")) == os.path.join("$TRACE_CACHE", "x")


def test_a_short_or_relative_setting_is_not_found_in_every_text(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRACE_CACHE", "cache")
    monkeypatch.setenv("HF_TOKEN", "1")
    assert text("use_cache, layers.1, DynamicCache") == "use_cache, layers.1, DynamicCache"
    assert text(str(tmp_path / "cache" / "x")) == os.path.join("$TRACE_CACHE", "x")


def test_a_file_name_that_is_no_utf_8_can_be_saved():
    assert text(os.fsdecode(b"a\xff")) == "a?"


def test_long_texts_are_cut_with_a_mark():
    assert len(text("x" * 1000)) == 160
    assert text("x" * 1000).endswith("…")


def test_source_files_are_told_by_package():
    assert source_path(torch.nn.Module.__call__.__code__.co_filename) == "torch/nn/modules/module.py"
    assert source_path(collections.__file__) == "collections/__init__.py"
    assert source_path("/somewhere/private/script.py") == "script.py"


def test_remote_code_is_told_by_the_name_that_it_is_imported_by(tmp_path):
    """transformers puts an __init__.py into its modules cache, beside that of transformers_modules."""
    own = tmp_path / "cache" / "modules" / "transformers_modules" / "my_model"
    own.mkdir(parents=True)
    for folder in (own, own.parent, own.parent.parent):
        (folder / "__init__.py").touch()
    assert source_path(str(own / "modeling_mine.py")) == "transformers_modules/my_model/modeling_mine.py"


# the way in for events, which compares keys before it describes ------------------------------------------------------

ALIKE = (
    1, 1.0, True, 0, 0.0, False, None, float("nan"), float("inf"), "1", "", "x" * 200, torch.float32,
    torch.device("cpu"), torch.device("meta"), torch.Size((1,)), torch.Size((2,)), (), [], (1,), [1], (1.0,), (True,),
    ((1, (2.0,)),), {}, {"a": 1}, {"a": 1.0}, {"b": 1}, {"a": 1, "b": 1}, {"b": 1, "a": 1}, {1: 1}, {"1": 1},
    {"a": {"b": (1, None)}}, {"a": {"b": (1, True)}}, {"a": {"b": {"c": {"d": 1}}}}, collections.OrderedDict(a=1),
    {"a": torch.zeros(2)}, {"a": torch.zeros(3)}, {str(name): 1 for name in range(30)},
    list(range(100)), list(range(101)),
    torch.zeros(2, 3), torch.zeros(3, 2), torch.zeros(2, 3, dtype=torch.float16), torch.zeros(4, 3)[:2],
    (torch.zeros(2, 3), None), (torch.zeros(2, 3), torch.zeros(1)), torch.zeros(2, 3, device="meta"), object(), int,
)  # fmt: skip


def test_a_description_found_by_its_key_is_the_one_that_describing_gives():
    """Each value twice, the second time in another order: none is given the description of another."""
    describer, fresh = Describer(), Describer()

    def told(by: Describer, pair: tuple[int, int]):
        tensors, values = by.tensor_lists[pair[0]], by.value_lists[pair[1]]
        return [by.specs[index] for index in tensors], [(path, type(value), value) for path, value in values]

    for values in ([(value,) for value in ALIKE], [(value, value) for value in reversed(ALIKE)]) * 2:
        for given in values:
            names = ("x", "y")[: len(given)]
            found = describer.descriptions[describer.description(names, given)]
            assert told(describer, found) == told(fresh, fresh.describe(zip(names, given, strict=True)))


def test_names_belong_to_the_key():
    describer = Describer()
    assert describer.description(("x",), (1,)) != describer.description(("y",), (1,))


def test_a_short_secret_is_redacted_each_time_and_noted_each_time():
    describer = Describer()
    for secret in ("first-secret", "second-one"):
        for name, given, path in (("token", secret, "token"), ("kwargs", {"token": secret}, "kwargs.token")):
            _, values = describer.descriptions[describer.description((name,), (given,))]
            assert describer.value_lists[values] == ((path, "<redacted>"),)
            assert secret not in str(describer.by_key)
            assert describer.secrets.hidden(f"it is {secret}") == "it is <redacted>"


def test_keys_keep_nothing_alive():
    describer, tensor = Describer(), torch.zeros(2)
    gone = weakref.ref(tensor)
    describer.description(("x", "y"), (tensor, [tensor]))
    del tensor
    assert gone() is None


def test_a_module_that_is_gone_does_not_give_its_name_to_the_next_one_in_its_place():
    names = ModuleNames()
    module = torch.nn.Linear(1, 1)
    names.remember(module, "first")
    assert names.of(module) == 0
    place = id(module)
    del module
    gc.collect()
    assert place not in names.known


@pytest.mark.parametrize(
    ("home", "given", "shown"),
    [
        ("/home/ann", "/home/ann/models", "~/models"),
        ("/home/ann", "/home/anna/models", "/home/anna/models"),
        ("/home/ann", "-I/home/ann/x:/home/ann", "-I~/x:~"),
        ("/srv/ann", "file:///srv/ann/x, /srv/ann", "file://~/x, ~"),
        ("/srv", "/data/srv/models, /mnt/srvfs", "/data/srv/models, /mnt/srvfs"),
    ],
)
def test_the_home_directory_is_a_whole_name(monkeypatch, home, given, shown):
    monkeypatch.setenv("HOME", home)
    assert text(given) == shown
