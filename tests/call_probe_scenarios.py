"""What the call probe must see, run as a script by every Python that is installed. Needs no torch.

Prints the events as JSON: (function, parent function, thread, how it ended, what was read of arguments and result).
"""

import contextlib
import json
import math
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from helpers.events import CALL, STATUSES
from helpers.probes.calls import backend
from helpers.probes.watch import BuiltinWatch, Watch


class ValueDescriber:
    """Keeps the arguments as text, so that the test can compare them."""

    def __init__(self):
        self.kept = [""]

    def describe(self, named):
        self.kept.append(", ".join(f"{name}={value!r}" for name, value in named))
        return 0, len(self.kept) - 1


class NoSteps:
    generation = step = -1


def plain(a, *rest, b=2, **more):
    return inner(a) + b


def inner(a):
    return a + 1


def returns_none(a):
    del a


def fails(a):
    raise ValueError(a)


def passes_through(a):
    return fails(a)


def factorial(n):
    return 1 if n == 0 else n * factorial(n - 1)


def numbers(n):
    for number in range(n):
        received = yield number
        del received


@contextlib.contextmanager
def managed(a):
    yield a


def calls_builtin(x, y):
    return math.gcd(x, y)


def calls_builtin_method(text):
    return text.upper()


def builtin_fails(x, y):
    return math.gcd(x, y)


def in_worker(a):
    return inner(a)


def only_from_plain(a):
    return a


def calls_guarded(a):
    return only_from_plain(a)


def other_caller(a):
    return only_from_plain(a)


def called_by_guarded(frame):
    return frame.f_back.f_code.co_name == "calls_guarded"


alias = inner
WATCHED = (plain, inner, returns_none, fails, passes_through, factorial, numbers, managed.__wrapped__, in_worker)


def scenario():
    plain(1, 5, b=3, c=4)
    alias(7)
    returns_none(1)
    with contextlib.suppress(ValueError):
        passes_through(3)
    factorial(2)
    list(numbers(3))
    with managed(4):
        inner(5)
    with contextlib.suppress(KeyError), managed(6):
        raise KeyError
    calls_builtin(12, 18)
    calls_builtin_method("abc")
    with contextlib.suppress(TypeError):
        builtin_fails(1, "x")
    worker = threading.Thread(target=in_worker, args=(9,), name="worker")
    worker.start()
    worker.join()
    calls_guarded(1)
    other_caller(2)


def run():
    from helpers.probes.watch import call_reader, result_closer

    describer = ValueDescriber()
    names = {}
    watches = []
    for function in WATCHED:
        code = function.__code__
        names[len(names)] = function.__qualname__
        reader = call_reader(code, len(names) - 1, describer)
        watches.append(Watch(code, reader, result_closer(describer), kind=CALL))
    code = only_from_plain.__code__
    names[len(names)] = "only_from_plain"
    reader = call_reader(code, len(names) - 1, describer)
    watches.append(Watch(code, reader, result_closer(describer), accepts=called_by_guarded))
    builtins = []
    for caller, builtin, name in (
        (calls_builtin, math.gcd, "gcd"),
        (calls_builtin_method, str.upper, "upper"),
        (builtin_fails, math.gcd, "gcd"),
    ):
        names[len(names)] = name
        local_names = {local: local for local in caller.__code__.co_varnames[: caller.__code__.co_argcount]}
        builtins.append(BuiltinWatch(builtin, caller.__code__, len(names) - 1, local_names, False))
    ticks = iter(range(10**6))
    probe = backend()(watches, builtins, describer, None, lambda: next(ticks))
    probe.tracker = NoSteps()
    probe.start()
    try:
        scenario()
    finally:
        probe.stop()
        probe.close_open_calls()
    scenario()  # off means off: nothing of this is recorded
    ends = {end[0]: end for end in probe.log.ends}
    functions = {start[0]: names[start[2]] for start in probe.log.starts}
    events = []
    for index, _, _, _, _, arguments, thread, parent, *_ in sorted(probe.log.starts):
        _, _, _, result, _, status = ends[index]
        events.append(
            [
                functions[index],
                functions.get(parent, ""),
                probe.thread_names[thread],
                STATUSES[status],
                describer.kept[arguments],
                describer.kept[result],
            ]
        )
    return {"python": sys.version.split()[0], "probe": probe.name, "events": events}


if __name__ == "__main__":
    print(json.dumps(run()))
