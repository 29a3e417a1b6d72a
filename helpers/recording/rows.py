"""The rows of a Recording: numbers and strings only."""

from __future__ import annotations

from typing import NamedTuple


class TensorSpec(NamedTuple):
    """What is kept of a tensor: where it stood in the call, its shape, dtype and device, and its bytes.

    `nbytes` is the size of its elements; `storage` the size of the memory behind it (larger for a view), None where
    the tensor does not say. A meta tensor's bytes are virtual: nothing is allocated.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    device: str
    nbytes: int | None
    storage: int | None

    def __str__(self) -> str:
        return f"{self.path} {self.shape_text}"

    @property
    def shape_text(self) -> str:
        return "(" + ", ".join(map(str, self.shape)) + ")"


class Function(NamedTuple):
    """A function that was called: the code that really ran, behind decorators and aliases."""

    module: str
    qualname: str
    file: str  # relative to site-packages, or without the home directory; "" for a builtin
    line: int  # 0 for a builtin

    @property
    def location(self) -> str:
        return f"{self.file}:{self.line}" if self.line else "builtin"


class LandmarkStatus(NamedTuple):
    """A landmark in this run: the function that plays it (index, or -1) and, where there is none, why."""

    id: str
    function: int
    reason: str


class LoadRow(NamedTuple):
    """One tensor of a checkpoint, or one parameter that the checkpoint does not hold; None: not observed.

    `status`: loaded, renamed (the model has another name for it), offloaded (left on disk), mismatched (other shape),
    unexpected (in the file only), missing (in the model only), tied (a further name of another parameter's memory);
    of a load that an error ended (out of memory, say) placed (it was in its module by then) or not reached. A tensor
    that is split into several parameters has a row for each; its byte range stands in the first.
    """

    load: int  # number of the load in the recording, from 0
    key: str | None  # name in the checkpoint
    parameter: str | None  # name in the model
    status: str
    file: str | None
    begin: int | None  # byte range in the file
    end: int | None
    disk_dtype: str | None
    disk_shape: tuple[int, ...] | None
    dtype: str | None  # in memory, when from_pretrained returned
    device: str | None
    nbytes: int | None  # in this process; on disk where `device` says so
    thread: str | None  # that read it, else that placed it
    started: int | None  # nanoseconds since the recording began: reading, casting and moving it
    finished: int | None
    placed: int | None  # when it was put into its module
    tied_to: str | None
    shape: tuple[int, ...] | None = None  # in memory of this process: of a sharded parameter its own part
    placement: str | None = None  # of a parameter of several ranks: "Shard(dim=0) of 3"; None for one of one process
    copy_began: int | None = None  # nanoseconds since the load's first copy to that GPU began, on the GPU's clock
    copy_ended: int | None = None


class ModuleRow(NamedTuple):
    """The module that a path of Recording.paths names."""

    model: int  # number of the model, in the order of their first calls; -1: of none that was called
    kind: str  # name of its class


class WeightRow(NamedTuple):
    """The parameters and buffers of one module itself, without its children's, when its model was first called."""

    path: str  # of the module in its model
    dtype: str
    nbytes: int  # without tied weights that an earlier module has
    device: str  # where they lie: cpu, cuda:0, disk; meta where nothing says
    execution_device: str  # where an offload hook moves them for a call; without one the same
    model: int = 0  # number of the model, in the order of their first calls


class SampleRow(NamedTuple):
    """The scores of the first sequence before a chain of logits processors (position 0), or after one of them.

    None: not observed; of scores with NaN or +inf, which have no softmax, only `kept`.
    """

    generation: int
    step: int
    chain: int  # number of the chain in its step: assisted decoding runs several
    position: int  # in the chain, from 1
    processor: str  # class name
    parameters: tuple[tuple[str, bool | int | float | str], ...]
    sequences: int | None = None  # rows of the scores, of which the first is measured
    kept: int | None = None  # tokens with a finite score
    entropy: float | None = None  # of the softmax, in bits, six significant digits, as are the probabilities
    p_top: float | None = None
    top: tuple[tuple[int, float], ...] = ()  # up to eight likeliest tokens: (id, probability)
    token: int | None = None  # in the last row of a chain: what was chosen
    chosen_by: str | None = None  # multinomial or argmax
