"""The table of contents of a page that travels alone, from the headings of its texts."""

from __future__ import annotations

import re

LEAST = 3
"""Sections; a page with fewer is seen at a glance."""
_HEADING = re.compile(r'<h2 id="(?P<id>[^"]+)">(?P<text>.*?)<a class="anchor-link"', re.DOTALL)
_TAG = re.compile(r"</?(?:a|span)\b[^>]*>")


def contents(document: str) -> str:
    """The sections of a page as a folded list of links; "" where there are too few. Headings are nbconvert's."""
    sections = [(found["id"], _TAG.sub("", found["text"]).strip()) for found in _HEADING.finditer(document)]
    if len(sections) < LEAST:
        return ""
    links = "\n".join(f'<li><a href="#{place}">{text}</a></li>' for place, text in sections)
    return (
        '<nav class="contents" aria-label="On this page"><details>\n'
        f"<summary>On this page: {len(sections)} sections</summary>\n<ol>\n{links}\n</ol>\n</details></nav>"
    )
