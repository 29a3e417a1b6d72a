"""What a site must pass before it is published: no dead link, nothing from elsewhere, no secret, no great weight.

Sphinx sees the links that it wrote itself; those in tables and outputs are read here, from the pages as they are.
"""

from __future__ import annotations

import base64
import gzip
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from helpers.notebook_form import machine_paths
from helpers.probes.redact import secrets_in
from helpers.site import SiteError

PAGE_BYTES, SITE_BYTES = 3_000_000, 30_000_000
"""The most that one page, and the whole site, may weigh."""
OF_THE_THEME = "_static"
OWN_AMONG_THEM = ("site.css", "site.js")
NO_WORDS = ("", "No description has been provided for this image")
"""The second is what nbconvert writes where there are none."""
WORDLESS = "has no alt text"
_TEXT = (".html", ".js", ".json", ".txt", ".ipynb", ".css", ".inv", ".svg", ".md", ".xml")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{200,}=*")
"""Figures and packed recordings, in which chance makes anything; the recordings are looked at unpacked."""
_STEP = re.compile(r"step=\d+(\.\d+)?$")
"""A step of the player: no id in the page, the player goes there."""
_LOADING = {"src", "poster", "background"}
_LOADING_OF = {"object": ("data",), "use": ("href", "xlink:href"), "image": ("href", "xlink:href")}
_OF_A_STYLE = re.compile(r"""url\(\s*['"]?([^'")]+)|@import\s+['"]([^'"]+)""", re.IGNORECASE)


@dataclass
class Page:
    """What a page refers to: ids, links, what it loads, pictures without words."""

    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    without_alt: list[str] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page()
        self._in_style = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        if "id" in values:
            self.page.ids.add(values["id"])
        if tag == "a" and "href" in values:
            self.page.links.append(values["href"])
        self.page.loads += filter(None, (values.get(name) for name in (*_LOADING, *_LOADING_OF.get(tag, ()))))
        self.page.loads += [part.split()[0] for part in _parts_of_a_set(values.get("srcset", ""))]
        self.page.loads += _of_a_style(values.get("style", ""))
        self._in_style = tag == "style"
        if tag == "link" and values.get("rel") not in ("canonical", "author", "search", "next", "prev", "index"):
            self.page.loads.append(values.get("href", ""))
        if tag == "img" and _has_no_words(values) and values.get("aria-hidden") != "true":
            self.page.without_alt.append(values.get("src", "")[:60])

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.page.loads += _of_a_style(data)

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False


def _parts_of_a_set(value: str) -> list[str]:
    """Of a srcset, each address with its size, without those of data:, whose commas are their own."""
    return [part for part in re.split(r",\s+", value) if part.strip() and not part.startswith("data:")]


def _of_a_style(text: str) -> list[str]:
    return [found[1] or found[2] for found in _OF_A_STYLE.finditer(text)]


def _has_no_words(values: dict[str, str]) -> bool:
    """Whether an image's alt says nothing; docutils writes the address of the picture where there is none."""
    alt, source = values.get("alt", "").strip(), values.get("src", "")
    return alt in (*NO_WORDS, source, source.rpartition("/")[2])


def read(text: str) -> Page:
    """What a page refers to."""
    reader = _Reader()
    reader.feed(text)
    return reader.page


def inspect(site: Path) -> None:
    """Raises SiteError with a line for each thing that keeps the site in this folder from being published."""
    problems = [*weight_problems(site), *link_problems(site), *private_problems(site)]
    if problems:
        raise SiteError("The site must not be published as it is:\n" + "\n".join(problems))


def total_bytes(site: Path) -> int:
    """What all files of the site weigh together."""
    return sum(file.stat().st_size for file in site.rglob("*") if file.is_file())


def weight_problems(site: Path) -> Iterator[str]:
    """Pages, and the site, that weigh more than they may."""
    for page in sorted(site.rglob("*.html")):
        size = page.stat().st_size
        if size > PAGE_BYTES:
            yield f"{page.relative_to(site)} weighs {size:,} bytes, more than {PAGE_BYTES:,}"
    if total_bytes(site) > SITE_BYTES:
        yield f"the site weighs {total_bytes(site):,} bytes, more than {SITE_BYTES:,}"


def page_problems(text: str) -> Iterator[str]:
    """Pictures without words in a page, and what it would fetch from elsewhere."""
    page = read(text)
    yield from (f"the picture {source!r} {WORDLESS}" for source in page.without_alt)
    yield from (f"it would fetch {address}" for address in page.loads if _is_elsewhere(address))


def _is_place(fragment: str, page: Page) -> bool:
    """Whether a page has this place. As a browser does: the id as it is written, then decoded."""
    return bool({fragment, unquote(fragment)} & page.ids) or _STEP.match(unquote(fragment)) is not None


def _meant(fragment: str, page: Page) -> str:
    """The place that differs from this one in capitals only, as half a sentence; "" without any."""
    wanted = unquote(fragment).lower()
    near = next((one for one in sorted(page.ids) if one.lower() == wanted), None)
    return f"; there is #{near}" if near else ""


def alone_problems(text: str) -> Iterator[str]:
    """What a page that travels alone lacks: files that it would load or link to, and places that are not in it."""
    page = read(text)
    for address in page.loads:
        if not urlsplit(address).scheme and not urlsplit(address).netloc:
            yield f"it would load the file {address}, which does not travel with it"
    for address in page.links:
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            continue
        if parts.path:
            yield f"the link {address} leads to a file that does not travel with it"
        elif parts.fragment and not _is_place(parts.fragment, page):
            yield f"the link {address} leads to no such place in it{_meant(parts.fragment, page)}"


def _is_elsewhere(address: str) -> bool:
    parts = urlsplit(address)
    return parts.scheme not in ("", "data") or bool(parts.netloc)


def link_problems(site: Path) -> Iterator[str]:
    """Links within the site that lead nowhere, pictures without words, and what would be fetched from elsewhere."""
    texts = {file: file.read_text(encoding="utf-8") for file in sorted(site.resolve().rglob("*.html"))}
    pages = {file: read(text) for file, text in texts.items()}
    for file, page in pages.items():
        name = file.relative_to(site.resolve()).as_posix()
        yield from (f"{name}: {problem}" for problem in page_problems(texts[file]))
        found = (_dead(address, file, site.resolve(), pages) for address in [*page.links, *page.loads])
        yield from (f"{name}: {problem}" for problem in found if problem)


def _dead(address: str, file: Path, site: Path, pages: dict[Path, Page]) -> str | None:
    """Why this address leads nowhere; None where it is fine, or external."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return None
    target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
    if not target.is_relative_to(site):
        return f"the link {address} leaves the site"
    if not target.is_file():
        return f"the link {address} leads to no file"
    if parts.fragment and target in pages and not _is_place(parts.fragment, pages[target]):
        return f"the link {address} leads to no such place in that page{_meant(parts.fragment, pages[target])}"
    return None


def private_problems(site: Path) -> Iterator[str]:
    """Files that name a path of this machine, or hold a secret: of the environment, or of a known form."""
    for file in sorted(path for path in site.rglob("*") if path.is_file()):
        name = file.relative_to(site).as_posix()
        if name.startswith(f"{OF_THE_THEME}/") and file.name not in OWN_AMONG_THEM:
            continue
        if file.name.endswith(".json.gz"):
            yield from (f"{name} {problem}" for problem in text_problems(unpacked(file.read_bytes())))
        elif file.suffix in _TEXT:
            yield from (f"{name} {problem}" for problem in text_problems(file.read_text(encoding="utf-8")))


def text_problems(text: str) -> Iterator[str]:
    """What in a text is private: each secret, with its first characters only, and each path of this machine."""
    packed = [_unpacked_base64(found[0]) for found in _BASE64.finditer(text)]
    readable = "\n".join([_BASE64.sub("", text), *filter(None, packed)])
    yield from (f"holds a secret: {found}" for found in secrets_in(readable, os.environ))
    yield from (
        f"names a path of this machine: {found} (show path.name in its place)" for found in machine_paths(readable)
    )


def _unpacked_base64(text: str) -> str | None:
    """The text that was packed with gzip and base64, as the data of an explorer is; None for anything else."""
    if not text.startswith("H4sI"):  # gzip's first three bytes
        return None
    try:
        return unpacked(base64.b64decode(text))
    except (ValueError, OSError, EOFError, zlib.error):  # chance made it look so
        return None


def unpacked(recording: bytes) -> str:
    """The text of a recording's file."""
    return gzip.decompress(recording).decode("utf-8")
