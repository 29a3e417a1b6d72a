"""What the library warns of is told to a cell of a notebook, and not written to standard error."""

import logging
import warnings

from helpers import sampling


def test_log_messages_and_warnings_are_in_the_list_and_not_on_standard_error(capfd):
    with sampling.transformers_messages() as told:
        logging.getLogger("transformers.generation.utils").warning("from the log")
        warnings.warn("from a warning", UserWarning, stacklevel=1)
    assert told == ["from the log", "from a warning"]
    assert capfd.readouterr().err == ""


def test_afterwards_the_librarys_messages_go_where_they_went():
    handlers = logging.getLogger("transformers").handlers[:]
    with sampling.transformers_messages():
        pass
    assert logging.getLogger("transformers").handlers == handlers
