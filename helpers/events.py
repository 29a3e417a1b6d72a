"""The vocabulary of events: kinds, endings and columns. Imports nothing, so that the call probe runs on any Python."""

CALL, MODULE, BUILTIN = range(3)
KINDS = ("call", "module", "builtin")

RETURNED, RAISED, YIELDED, OPEN = range(4)
STATUSES = ("returned", "raised", "yielded", "open")
"""How a call ended: it returned, an exception left it, it is a generator that gave its first value (its resumes are
not calls), or it was still running when the recording ended."""

EVENT_COLUMNS = (
    "kind",  # index into KINDS
    "function",  # index into Recording.functions
    "path",  # index into Recording.paths: the module's name in its model; -1 where the event is not a module call
    "thread",  # index into Recording.threads
    "parent",  # index of the event around this one in the same thread; -1 at the top
    "generation",  # number of the generate() call, from 0; -1 outside
    "step",  # 0 = prefill, 1, 2, … = decode steps; -1 outside
    "start",  # nanoseconds since the recording began
    "end",
    "inputs",  # index into Recording.tensor_lists
    "arguments",  # index into Recording.value_lists
    "outputs",  # index into Recording.tensor_lists
    "result",  # index into Recording.value_lists
    "memory_before",  # index into the memory series; -1 where no sample was taken
    "memory_after",
    "status",  # index into STATUSES
)
MEMORY_COLUMNS = (
    "time",  # nanoseconds since the recording began
    "resident",  # bytes of the process in RAM
    "anonymous",  # … of which allocated memory
    "file_mapped",  # … of which pages of mapped files (safetensors shards, shared libraries)
    "parameters",  # bytes of the parameters and buffers of the models that live, ties once, meta not counted
    "parameters_virtual",  # … of those without memory of their own: meta tensors, also what accelerate keeps elsewhere
    "kv_cache",  # bytes of the KV caches of the generate() calls that run
    "cuda_allocated",  # bytes, summed over devices
    "cuda_reserved",
    "cuda_peak",  # highest allocated since the process started or the user's last reset
)
STEP_COLUMNS = (
    "generation",
    "step",
    "start",  # nanoseconds since the recording began
    "end",
    "kept",  # 1: its events are kept in full; 0: this row is all that is kept
    "kv_tokens",  # positions in the KV cache after the step's forward pass; -1 not observed
    "kv_bytes",
    "memory",  # index into the memory series at the end of the step
    "tokens",  # new tokens of each sequence: 1, or several in assisted decoding; -1 not observed
)
CACHE_COLUMNS = (
    "generation",
    "step",  # after the forward pass of this step
    "first_layer",  # layers of equal size are one row
    "layers",  # how many of them
    "tokens",  # positions that each has seen; -1 not observed
    "capacity",  # positions that its tensors have room for
    "nbytes",  # of its keys and values, as allocated
)
LINE_COLUMNS = (
    "event",  # the call whose line ran
    "line",  # number in the file
    "start",  # nanoseconds since the recording began
    "tensors",  # index into tensor_lists: variables that this line changed, by name
    "values",  # index into value_lists
)
VALUE_COLUMNS = (
    "event",  # the module call that gave the tensor
    "output",  # its place in the tensor list of the event's outputs
    "status",  # index into VALUE_STATUSES
    "min",  # of the finite values, as a float; NaN where there is none
    "max",
    "mean",
    "nan",  # how many values are NaN; -1 where they were not read
    "inf",  # how many are +inf or -inf
    "nan_in",  # how many NaN the call's inputs held; -1: not looked at, as the outputs have none
)
VALUE_FLOATS = ("min", "max", "mean")
VALUE_STATUSES = (
    "yes",
    "no: a meta tensor has no values",
    "no: empty",
    "no: not floating-point",
    "no: layout is not strided",
    "no: this kind of tensor could not be read",
)
NOT_OBSERVED = -1
NOTHING = 0  # index of the empty tensor list and of the empty value list


class RecordingError(RuntimeError):
    """A recording cannot answer, be read or be made; the message says what to do."""
