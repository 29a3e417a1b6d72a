"""What may enter a recording as text: short, without secrets, without the reader's home directory.

Redaction happens here, at the probe, so that no later step (saving, showing, exporting) can forget it.
"""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path

REDACTED = "<redacted>"
LONGEST_TEXT = 160  # characters; a prompt or a path is recognisable, a document does not fit

_SECRET_NAMES = re.compile(
    r"^(token|use_auth_token|hf_token|auth|auth_token|access_token|authorization|proxy-authorization|headers|cookies?"
    r"|password|passwd|secret|api_key|credentials?|proxies|private_key)$",
    re.IGNORECASE,
)
_SECRET_TEXTS = re.compile(r"hf_[A-Za-z0-9]{8,}|Bearer\s+\S+|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)")
_SECRET_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACEHUB_API_TOKEN")


def is_secret_name(name: object) -> bool:
    """Whether an argument or key of this name holds a secret, so that its value is never looked at."""
    return isinstance(name, str) and _SECRET_NAMES.match(name) is not None


@functools.lru_cache(maxsize=2**16)
def is_secret_path(path: str) -> bool:
    """The same of the last part of a path such as `kwargs.token`."""
    return is_secret_name(path.rpartition(".")[2])


def text(value: str) -> str:
    """`value` without secrets and home directory, cut to LONGEST_TEXT characters (the cut is marked)."""
    # a file name that is no UTF-8 has lone surrogates, which no file could hold
    readable = value[: LONGEST_TEXT * 4].encode("utf-8", "replace").decode("utf-8")
    clean = _SECRET_TEXTS.sub(REDACTED, readable)
    for variable in _SECRET_VARIABLES:
        secret = os.environ.get(variable)
        if secret:
            clean = clean.replace(secret, REDACTED)
    clean = _without_home(_without_cache_folder(clean))
    return clean if len(clean) <= LONGEST_TEXT else clean[: LONGEST_TEXT - 1] + "…"


def _without_cache_folder(value: str) -> str:
    """The reader's own cache folder is as private as the home directory, where it lies by default."""
    folder = os.environ.get("TRACE_CACHE")
    return value.replace(str(Path(folder).expanduser()), "$TRACE_CACHE") if folder else value


def _without_home(value: str) -> str:
    home = str(Path.home())
    return value.replace(home, "~") if len(home) > 1 else value


@functools.lru_cache(maxsize=4096)
def source_path(file: str) -> str:
    """A source file as readers know it: `transformers/modeling_utils.py`, not where this machine keeps it.

    Relative to the folder that holds its outermost package, or, for a lone file, to the standard library.
    """
    path = Path(file)
    package = path.parent
    while (package / "__init__.py").exists():
        package = package.parent
    if package != path.parent:
        return path.relative_to(package).as_posix()
    library = Path(os.__file__).parent
    if path.is_relative_to(library) and not {"site-packages", "dist-packages"} & set(path.parts):
        return path.relative_to(library).as_posix()
    return path.name if path.suffix == ".py" else text(path.as_posix())
