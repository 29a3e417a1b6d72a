"""What may enter a recording as text: short, without secrets, without the reader's home directory.

Redaction happens here, at the probe, so that no later step (saving, showing, exporting) can forget it.
"""

from __future__ import annotations

import functools
import os
import re
import types
from collections.abc import Mapping
from pathlib import Path

REDACTED = "<redacted>"
_LONGEST_READ = 64 * 160
_SHORTEST_SECRET = 6  # characters; shorter ones would be found everywhere
LONGEST_TEXT = 160  # characters; a prompt or a path is recognisable, a document does not fit

_SECRET_NAMES = re.compile(
    r"^(token|use_auth_token|(hf|hub|api|auth|access|bearer|refresh|session)[_-]?token|auth|(proxy-)?authorization|headers"
    r"|(set-)?cookies?|password|passwd|(client[_-]?)?secret|(\w+[_-])?(api|access|secret|private)[_-]?key|credentials?|proxies)$",
    re.IGNORECASE,
)
_SECRET_TEXTS = re.compile(
    r"hf_[A-Za-z0-9]{12,}"  # twelve: shorter ones are names (hf_quantizer)
    r"|Bearer\s+\S+|bearer\s+[\w.~+/=-]{16,}"  # sixteen: "bearer of news" is none
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"
    r"|(?<=[?&])(?i:(?:access_)?token|sig|signature|policy|x-amz-[a-z-]+)=[^&\s\"'<>]+"  # of an address
)
# an access token is one word with a digit or a hyphen; a token of a vocabulary, which goes by the same name, rarely is
_LIKE_AN_ACCESS_TOKEN = re.compile(r"(?=.*[\d-])[\w.~+/=-]+$")
_SECRET_VARIABLE = re.compile(r"(TOKEN|SECRET|PASSWORD|PASSWD|API_KEY|ACCESS_KEY|CREDENTIALS)$", re.IGNORECASE)
_HUB_ARGUMENTS = frozenset(("cache_dir", "revision", "local_files_only", "repo_id", "pretrained_model_name_or_path"))
_SECRET_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACEHUB_API_TOKEN")


def is_secret_name(name: object) -> bool:
    """Whether an argument or key of this name holds a secret, so that its value is never looked at."""
    return isinstance(name, str) and _SECRET_NAMES.match(name) is not None


def secrets_in(value: str, variables: Mapping[str, str]) -> list[str]:
    """The secrets in a text that was not redacted, each with its first characters only: texts of a known form, and the
    values of `variables` (an environment) that are named like a secret."""
    found = [match[0] for match in _SECRET_TEXTS.finditer(value)]
    for name, secret in variables.items():
        if _SECRET_VARIABLE.search(name) and len(secret) >= 2 * _SHORTEST_SECRET and secret in value:
            found.append(secret)
    return [f"{secret[:_SHORTEST_SECRET]}…" for secret in dict.fromkeys(found)]


class Word(str):
    """A text that is no secret though it goes by a secret's name: a token of a vocabulary."""

    __slots__ = ()


def is_given_a_word(code: types.CodeType) -> bool:
    """Whether what this function calls `token` is one of a vocabulary: a tokenizer's function that asks no hub."""
    arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    if "token" not in arguments or not _HUB_ARGUMENTS.isdisjoint(arguments):
        return False
    file = Path(code.co_filename)
    return file.name.startswith("tokenization_") or file.parent.name == "tokenizers"


class SecretValues:
    """The secrets that passed under a secret's name, to find them again where they have none: `get_token()` gives one
    back, and a message may quote it. Kept while the recording runs."""

    def __init__(self) -> None:
        self._values: set[str] = set()

    def note(self, value: object, name: str = "") -> None:
        """Remember a secret, or those in a dictionary of headers. What is called just `token` may also be one of a
        vocabulary: only what looks like an access token is remembered."""
        if isinstance(value, dict):
            for key, item in list(value.items()):
                self.note(item, str(key))
        elif isinstance(value, str):
            bare = str.removeprefix(value, "Bearer ")
            if len(bare) >= _SHORTEST_SECRET and (name.lower() != "token" or _LIKE_AN_ACCESS_TOKEN.match(bare)):
                self._values.add(bare)

    def __bool__(self) -> bool:
        return bool(self._values)

    def hidden(self, value: object) -> object:
        """`value` without them, where it is a text; also without the beginning of one that was cut."""
        if not isinstance(value, str):
            return value
        for secret in sorted(self._values, key=len, reverse=True):  # one may begin with another
            value = value.replace(secret, REDACTED)
            if value.endswith("…"):
                lengths = range(min(len(secret), len(value)) - 1, _SHORTEST_SECRET - 1, -1)
                cut = next((length for length in lengths if value[:-1].endswith(secret[:length])), 0)
                if cut:
                    value = value[: -1 - cut] + REDACTED + "…"
        return value


@functools.lru_cache(maxsize=2**16)
def is_secret_path(path: str) -> bool:
    """The same of the last part of a path such as `kwargs.token`."""
    return is_secret_name(path.rpartition(".")[2])


def is_token_id(path: str, kind: type) -> bool:
    """Whether a value of this type is the number of a token in a vocabulary, though it goes by the name `token`."""
    return kind is int and path.rpartition(".")[2] == "token"


def text(value: str) -> str:
    """`value` without secrets and home directory, cut to LONGEST_TEXT characters (the cut is marked)."""
    # a file name that is no UTF-8 has lone surrogates, which no file could hold
    clean = _clean(value[:_LONGEST_READ].encode("utf-8", "replace").decode("utf-8"))
    if len(value) > _LONGEST_READ:  # what was read may end within a secret
        clean = clean[:LONGEST_TEXT] + "…"
    return clean if len(clean) <= LONGEST_TEXT else clean[: LONGEST_TEXT - 1] + "…"


def source(value: str) -> str:
    """A function's own text, of any length, without secrets and home directory; it has the same lines."""
    return "".join(_clean(line) for line in value.splitlines(keepends=True))


def _clean(value: str) -> str:
    clean = _SECRET_TEXTS.sub(REDACTED, value)
    for variable in _SECRET_VARIABLES:
        secret = os.environ.get(variable, "")
        if len(secret) >= _SHORTEST_SECRET:
            clean = clean.replace(secret, REDACTED)
    if "/" not in clean and "\\" not in clean:
        return clean  # no path, as most names of arguments: looking for folders in it would cost
    return without_home(_without_cache_folder(clean))


def _without_cache_folder(value: str) -> str:
    """The reader's own cache folder is as private as the home directory, where it lies by default."""
    folder = os.environ.get("TRACE_CACHE")
    if folder:
        for path in _spellings(os.path.abspath(os.path.expanduser(folder))):
            value = path.sub("$TRACE_CACHE", value)
    return value


def without_home(value: str) -> str:
    """`value` with "~" in place of the home directory."""
    for home in _spellings(os.path.expanduser("~")):
        value = home.sub("~", value)
    return value


@functools.lru_cache(maxsize=8)
def _spellings(folder: str) -> tuple[re.Pattern, ...]:
    """A folder, where it really lies if it is a link, and both with the slashes of a URL.

    /home/annabel is not /home/ann; and of a folder as short as /root the word alone, as in /data/root, is not it.
    """
    real = os.path.realpath(folder)
    paths = [
        path for path in dict.fromkeys((folder, real, Path(folder).as_posix(), Path(real).as_posix())) if len(path) > 1
    ]
    return tuple(
        re.compile((r"(?<!\w)" if len(Path(path).parts) < 3 else "") + re.escape(path) + r"(?!\w)") for path in paths
    )


REMOTE_CODE = "transformers_modules"
"""The package of the code that comes with checkpoints."""


@functools.lru_cache(maxsize=4096)
def source_path(file: str) -> str:
    """A source file as readers know it: `transformers/modeling_utils.py`, not where this machine keeps it.

    Relative to the folder that holds its outermost package, or, for a lone file, to the standard library.
    """
    path = Path(file)
    package = path.parent
    while (package / "__init__.py").exists():
        package = package.parent
        if REMOTE_CODE in path.relative_to(package).parts[:1]:
            break  # transformers makes the cache folder around it a package too, which nobody imports
    if package != path.parent:
        return path.relative_to(package).as_posix()
    library = Path(os.__file__).parent
    if path.is_relative_to(library) and not {"site-packages", "dist-packages"} & set(path.parts):
        return path.relative_to(library).as_posix()
    return path.name if path.suffix == ".py" else text(path.as_posix())
