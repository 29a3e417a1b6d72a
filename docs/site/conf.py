"""Sphinx's configuration for the site. `helpers.site.build` copies this folder and writes site.json beside it."""

import json
from pathlib import Path

from docutils import nodes
from sphinx.util import logging

from helpers.site import SiteError
from helpers.site.mathematics import mathml

FACTS = json.loads(Path(__file__).with_name("site.json").read_text(encoding="utf-8"))

project = "From from_pretrained to the next token"
html_title = project
html_short_title = "transformers, step by step"
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["extra"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_dmath_allow_space = False  # "$5 and $6" is money
html_math_renderer = "mathml"  # of `setup` below: browsers show it without a script

# Nothing is executed here, and nothing comes from elsewhere: no widget scripts, HTML before what needs a kernel.
nb_execution_mode = "off"
nb_ipywidgets_js = {}
nb_mime_priority_overrides = [("html", "text/html", 0), ("html", "text/plain", 90)]
nb_merge_streams = True

# Docstrings are written as Markdown is: one backtick for code, an indented block for an example.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "none"

html_theme = "sphinx_book_theme"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
html_extra_path = ["extra"]
templates_path = ["_templates"]
html_favicon = None
html_copy_source = False
html_show_sourcelink = False
html_show_search_summary = False  # it fetches pages, which a page opened from disk may not
html_use_index = False
html_domain_indices = False
html_show_sphinx = False
html_permalinks_icon = "#"
html_last_updated_fmt = None
html_context = {"facts": FACTS, "default_mode": "auto"}
html_theme_options = {
    "home_page_in_toc": True,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "use_repository_button": bool(FACTS["repository"]),
    "repository_url": FACTS["repository"] or "",
    "path_to_docs": "",
    "show_navbar_depth": 1,
    "show_toc_level": 1,
    "navbar_persistent": [],  # the sidebar has the search
    "navigation_with_keys": False,  # the arrow keys are the explorers'
    "footer_content_items": ["recorded.html"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "logo": {"text": "transformers, step by step"},
}


def _examples_are_literal(app, what, name, obj, options, lines):
    """Make an indented block after an empty line a literal one, as Markdown reads it."""
    result, inside = [], False
    for number, line in enumerate(lines):
        indented = line.startswith("    ")
        if indented and not inside and number and not lines[number - 1].strip():
            result += ["::", ""]
            inside = True
        elif line.strip() and not indented:
            inside = False
        result.append(line)
    # RST makes a link of what looks like an address; "file:line" is none.
    lines[:] = [line.replace("file:line", "file\\:line") for line in result]


def _no_signature_of_classes(app, what, name, obj, options, signature, returns):
    """Nobody makes a Recording by hand: its fields say nothing to a reader."""
    return ("", None) if what == "class" else None


def _mathematics(display):
    """A visitor that writes a formula as MathML; one that cannot be written is a warning, and stops the build."""

    def visit(translator, node):
        try:
            formula = mathml(node.astext(), display)
        except SiteError as error:
            logging.getLogger(__name__).warning(str(error), location=node)
            formula = ""
        translator.body.append(f'<div class="math">{formula}</div>' if display else formula)
        raise nodes.SkipNode

    return visit


def setup(app):
    app.add_html_math_renderer("mathml", (_mathematics(False), None), (_mathematics(True), None))
    app.connect("autodoc-process-docstring", _examples_are_literal, priority=400)  # before napoleon's own
    app.connect("autodoc-process-signature", _no_signature_of_classes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
