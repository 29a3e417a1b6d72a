"""nbconvert's HTML exporter with this project's template; mathematics becomes MathML, which needs no script."""

from __future__ import annotations

import logging

from jinja2 import pass_context
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import InvalidNotebook, IPythonRenderer, MarkdownWithMath
from nbconvert.preprocessors import CoalesceStreamsPreprocessor

from helpers.site import SiteError
from helpers.site.export import TEMPLATE, TEMPLATES
from helpers.site.mathematics import between_dollars, mathml


class _Renderer(IPythonRenderer):
    def block_math(self, body: str) -> str:
        return mathml(body, display=True)

    def inline_math(self, body: str) -> str:
        return between_dollars(body)

    def latex_environment(self, name: str, body: str) -> str:
        return mathml(f"\\begin{{{name}}}{body}\\end{{{name}}}", display=True)


@pass_context
def _markdown(context, source: str) -> str:
    attachments = context.get("cell", {}).get("attachments", {})
    try:
        return MarkdownWithMath(renderer=_Renderer(escape=False, attachments=attachments)).render(source)
    except InvalidNotebook as error:
        raise SiteError(f"a picture of a text is not in the file ({error})") from error


def exporter() -> HTMLExporter:
    """An exporter of pages that need nothing else."""
    made = HTMLExporter(template_name=TEMPLATE, extra_template_basedirs=[str(TEMPLATES)])
    made.log = logging.getLogger(__name__)
    made.log.setLevel(logging.ERROR)  # it warns of pictures without words, and `export` says which
    made.exclude_input_prompt = made.exclude_output_prompt = True
    made.register_filter("markdown2html", _markdown)
    made.register_preprocessor(CoalesceStreamsPreprocessor, enabled=True)  # a line written over is one line
    return made
