"""What reading a frame's locals leaves behind.

Before Python 3.13 a frame keeps the dictionary that `f_locals` gave, and fills it again only when it is read again. The
arguments of a builtin are read from its caller's locals, in the middle of the decoding loop: what the loop deletes
after that, the logits of its step, would live on through the next forward pass.
"""

from __future__ import annotations

import operator
import sys
import threading
import types

KEPT_BY_FRAMES = sys.version_info < (3, 13)
of_frame = operator.attrgetter("f_locals")


class LoopLocals:
    """Reads the locals of the decoding loop, and empties their dictionary when the step's token has been chosen.

    The dictionary, never `f_locals` again: Python 3.11 would fill it anew at the loop's next event, and in an event of
    the loop itself write it back into its variables.
    """

    def __init__(self) -> None:
        self._local = threading.local()

    def read(self, frame: types.FrameType) -> dict[str, object]:
        values = frame.f_locals
        if KEPT_BY_FRAMES:
            self._local.values = values
        return values

    def token_chosen(self, _value: object) -> None:
        """The stopping criteria have been asked."""
        self._local.__dict__.pop("values", {}).clear()

    def loop_ends(self, _value: object) -> None:
        """The loop returned, or an exception left it, whose traceback may be read."""
        self._local.__dict__.pop("values", None)
