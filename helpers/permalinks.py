"""Permalinks: where lines of an installed package stand on GitHub, at the tag of the installed release."""

from __future__ import annotations

from packaging.version import InvalidVersion, Version

GITHUB = "https://github.com"
REPOSITORIES = {  # package: (repository, folder in it that holds the package)
    "transformers": ("huggingface/transformers", "src/"),
    "accelerate": ("huggingface/accelerate", "src/"),
    "huggingface_hub": ("huggingface/huggingface_hub", "src/"),
    "safetensors": ("huggingface/safetensors", "bindings/python/py_src/"),
    "tokenizers": ("huggingface/tokenizers", "bindings/python/py_src/"),
    "torch": ("pytorch/pytorch", ""),
}
_BUILD_VARIANTS = {"torch"}
"""Packages whose local version label (2.13.0+cpu) names a build of the release, not other source."""


def permalink(file: str, first_line: int, last_line: int, versions: dict) -> tuple[str | None, str]:
    """(URL of these lines, "") or (None, why there is none).

    `file` is relative to site-packages: `transformers/generation/utils.py`; `versions` maps packages to installed
    versions. All six packages tag a release as `v` and its version.
    """
    package, _, rest = file.partition("/")
    if package not in REPOSITORIES or not rest:
        return None, f"where the source of {file} is published is not known"
    recorded = versions.get(package)
    if not recorded:
        return None, f"the version of {package} was not recorded"
    try:
        version = Version(recorded)
    except InvalidVersion:
        return None, f"{package} {recorded} is not a version of a release"
    if version.is_prerelease or (version.local and package not in _BUILD_VARIANTS):
        return None, f"{package} {recorded} is not a release: no tag holds its source"
    repository, folder = REPOSITORIES[package]
    return f"{GITHUB}/{repository}/blob/v{version.public}/{folder}{file}#L{first_line}-L{last_line}", ""
