"""The article's own method, as notebook 00 tells it: JupyterLab's debugger stops at a place of the breakpoint table.

JupyterLab speaks to the kernel on its control channel, in the Debug Adapter Protocol; so does this test.
"""

import queue
import time
from pathlib import Path

import pytest
import transformers
from jupyter_client.manager import KernelManager

from helpers.breakpoints import breakpoints

SITE_PACKAGES = Path(transformers.__file__).parents[1]
SECONDS = 300
"""At most for one wait: the debugger follows every line, and the machine may have other work."""


class DebuggedKernel:
    """A kernel of this Python with its debugger attached, driven as JupyterLab drives it."""

    def __init__(self):
        self.manager = KernelManager()
        self.manager.start_kernel(extra_arguments=["--log-level=ERROR"])
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=SECONDS)
        self.requests = 0

    def debug(self, command: str, **arguments) -> dict:
        """The body of the answer to a debug request."""
        self.requests += 1
        request = {"type": "request", "seq": self.requests, "command": command, "arguments": arguments}
        message = self.client.session.msg("debug_request", request)
        self.client.control_channel.send(message)
        while True:
            reply = self.client.get_control_msg(timeout=SECONDS)
            if reply["parent_header"].get("msg_id") == message["header"]["msg_id"]:
                assert reply["content"]["success"], reply["content"]
                return reply["content"].get("body") or {}

    def run(self, code: str) -> None:
        """Run a cell to its end, without the debugger looking on."""
        reply = self.client.execute_interactive(code, timeout=SECONDS, output_hook=lambda message: None)
        assert reply["content"]["status"] == "ok", reply["content"]

    def stopped_thread(self, code: str) -> int:
        """Send a cell off and wait until a thread stops in it; the thread."""
        self.client.execute(code)
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            try:
                message = self.client.get_iopub_msg(timeout=1)
            except queue.Empty:
                continue
            assert message["msg_type"] != "error", message["content"]
            if message["msg_type"] == "debug_event" and message["content"]["event"] == "stopped":
                return message["content"]["body"]["threadId"]
        raise AssertionError("the debugger stopped nowhere")

    def end(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture
def kernel():
    started = DebuggedKernel()
    yield started
    started.end()


@pytest.mark.slow
def test_the_kernels_debugger_stops_in_site_packages_at_the_place_that_the_table_names(kernel, tiny_checkpoint):
    place, _, line = breakpoints(["fwd.causal_lm"])["location"].iloc[0].rpartition(":")
    source = {"path": str(SITE_PACKAGES / place)}
    kernel.run(f"""
import torch
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained({str(tiny_checkpoint)!r})
""")
    kernel.debug("initialize", clientID="test", adapterID="", pathFormat="path", linesStartAt1=True)
    kernel.debug("attach")
    (placed,) = kernel.debug("setBreakpoints", source=source, breakpoints=[{"line": int(line)}])["breakpoints"]
    kernel.debug("configurationDone")
    thread = kernel.stopped_thread("model(torch.tensor([[1, 2, 3]]))")
    frame = kernel.debug("stackTrace", threadId=thread)["stackFrames"][0]
    seen = kernel.debug("evaluate", expression="tuple(input_ids.shape)", frameId=frame["id"])["result"]
    assert placed["verified"]
    assert (frame["name"], frame["line"], frame["source"]["path"]) == ("forward", int(line), source["path"])
    assert seen == "(1, 3)"
