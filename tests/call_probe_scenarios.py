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
from helpers.probes.lines import LineProbe
from helpers.probes.watch import BuiltinWatch, Watch, builtin_reader, call_reader


class ValueDescriber:
    """Keeps the arguments as text, so that the test can compare them."""

    modes = (lambda: False, contextlib.nullcontext)

    def __init__(self):
        self.kept = [""]

    def description(self, names, values):
        self.kept.append(", ".join(f"{name}={value!r}" for name, value in zip(names, values, strict=True)))
        return len(self.kept) - 1

    def description_of_one(self, names, value):
        return self.description(names, (value,))

    def describe(self, named):
        """For the lines: (list of tensors, list of values); equal ones once, as the describer of recordings does."""
        names, values = zip(*named, strict=True) if (named := list(named)) else ((), ())
        text = self.kept[self.description(names, values)]
        return 0, self.kept.index(text)


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


def calls_what_it_is_given(function, x, y):
    return math.lcm(x, y) + function(x, y)


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
    for function in (math.gcd, max, math.hypot, math.lcm, max, math.gcd):  # one instruction calls them all
        calls_what_it_is_given(function, 6, 4)
    with contextlib.suppress(TypeError):
        builtin_fails(1, "x")
    worker = threading.Thread(target=in_worker, args=(9,), name="worker")
    worker.start()
    worker.join()
    calls_guarded(1)
    other_caller(2)


def counts(n):
    total = 0
    for number in range(n):
        total += number
    return total


def found(a):
    return not_found(a) + 1


def not_found(a):
    return a


def boundary(a):
    return a


def told(a):
    return a


def rest_of_the_interface():
    """Functions found as they are called, lines, hooks added while it runs, and steps of which nothing is kept."""
    describer = ValueDescriber()
    names, seen = [], []

    def reader(function):
        names.append(function.__qualname__)
        return call_reader(function.__code__, len(names) - 1, describer)

    def find(code):
        looked_at.append(code.co_name)
        return Watch(code, reader(found)) if code is found.__code__ else None

    looked_at: list[str] = []
    step = Watch(boundary.__code__, reader(boundary))
    step.boundary = True
    step.on_enter = lambda frame: seen.append(f"enters with {frame.f_locals['a']}")
    step.on_exit = lambda value: seen.append(f"leaves with {value}")
    watches = [step, Watch(plain.__code__, reader(plain)), Watch(counts.__code__, reader(counts))]
    ticks = iter(range(10**6))
    lines = LineProbe({"counts": counts.__code__}, describer, lambda: next(ticks))
    gcd = BuiltinWatch(math.gcd, calls_builtin.__code__, builtin_reader(len(names), {"x": "x", "y": "y"}, describer))
    names.append("gcd")
    probe = backend()(watches, [gcd], describer, None, lambda: next(ticks), find, lines)
    probe.start()
    try:
        for _ in range(2):
            found(1)
        counts(2)
        probe.tell(told.__code__, lambda frame: seen.append("told"), None)
        told(1)
        for keeping in (False, True):
            probe.set_keeping(keeping)
            plain(keeping)
            found(keeping)
            boundary(keeping)
            calls_builtin(keeping, 1)
            told(keeping)
    finally:
        probe.stop()
        probe.close_open_calls()
    told(2)  # off means off
    base = counts.__code__.co_firstlineno
    return {
        "functions": [[names[start[2]], describer.kept[start[4]]] for start in sorted(probe.log.starts.rows())],
        "lines": [[number - base, describer.kept[values]] for _, number, _, _, values in lines.rows],
        "hooks": seen,
        "looked at": [looked_at.count(name) for name in ("found", "not_found")],
    }


def readers_that_fail():
    """A call and a builtin that cannot be read, around and beside one that can."""

    def unreadable(frame):
        raise ValueError("nobody may look")

    describer = ValueDescriber()
    watches = [
        Watch(calls_builtin.__code__, unreadable),
        Watch(plain.__code__, call_reader(plain.__code__, 0, describer)),
    ]
    ticks = iter(range(10**6))
    gcd = BuiltinWatch(math.gcd, calls_builtin.__code__, unreadable)
    probe = backend()(watches, [gcd], describer, None, lambda: next(ticks))
    probe.start()
    try:
        result = calls_builtin(12, 18)
        plain(1)
    finally:
        probe.stop()
        probe.close_open_calls()
    return {
        "result": result,
        "starts": [[start[2], describer.kept[start[4]], start[6]] for start in probe.log.starts.rows()],
        "ends": len(probe.log.ends.rows()),
        "problems": sorted(probe.problems.values()),
    }


def run():
    describer = ValueDescriber()
    names = {}
    watches = []
    for function in WATCHED:
        code = function.__code__
        names[len(names)] = function.__qualname__
        reader = call_reader(code, len(names) - 1, describer)
        watches.append(Watch(code, reader, kind=CALL))
    code = only_from_plain.__code__
    names[len(names)] = "only_from_plain"
    reader = call_reader(code, len(names) - 1, describer)
    watches.append(Watch(code, reader, accepts=called_by_guarded))
    builtins = []
    for caller, builtin, name in (
        (calls_builtin, math.gcd, "gcd"),
        (calls_builtin_method, str.upper, "upper"),
        (calls_what_it_is_given, math.gcd, "gcd"),
        (builtin_fails, math.gcd, "gcd"),
    ):
        names[len(names)] = name
        local_names = {local: local for local in caller.__code__.co_varnames[: caller.__code__.co_argcount]}
        builtins.append(BuiltinWatch(builtin, caller.__code__, builtin_reader(len(names) - 1, local_names, describer)))
    ticks = iter(range(10**6))
    probe = backend()(watches, builtins, describer, None, lambda: next(ticks))
    probe.start()
    try:
        scenario()
    finally:
        probe.stop()
        probe.close_open_calls()
    scenario()  # off means off: nothing of this is recorded
    ends = {end[0]: end for end in probe.log.ends.rows()}
    functions = {start[0]: names[start[2]] for start in probe.log.starts.rows()}
    events = []
    for index, _, _, _, arguments, thread, parent, *_ in sorted(probe.log.starts.rows()):
        _, _, result, _, status = ends[index]
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
    return {
        "python": sys.version.split()[0],
        "probe": probe.name,
        "events": events,
        "interface": rest_of_the_interface(),
        "failing readers": readers_that_fail(),
    }


if __name__ == "__main__":
    print(json.dumps(run()))
