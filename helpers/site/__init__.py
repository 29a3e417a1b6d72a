"""The exported HTML tutorials: the notebooks executed once, a site that works from disk, and the checks it must pass.

`executions` runs notebooks and keeps what came out, `build` makes the site of it with Sphinx, the other modules each
make one kind of page. docs/site holds what is not computed: configuration, start page, style.
"""


class SiteError(RuntimeError):
    """A site or a page that could not be built, or must not be published as it is; the message names what and why."""
