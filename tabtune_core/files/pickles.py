"""Checks the pickle in a file of ``torch.save`` before torch reads it: torch runs none of its code, but a single
instruction can request a hundred gigabytes, and nested tuples can keep torch busy forever.

In: the bytes. Out: nothing, or an error unless they are what ``torch.save`` writes for plain values and tensors.
"""

import pickletools
import re
from typing import Any

from tabtune_core.files.damaged import Damaged

MADE = re.compile(
    r"collections OrderedDict|torch Size|torch [A-Za-z0-9]+Storage|torch\._utils _rebuild_(tensor_v2|parameter)"
)
"""Names that a pickle may import. torch allows more, such as ``bytearray``, which can allocate any number of bytes."""
ATOM, HOLDER, A_NAME = 1, 100, 0
"""Numbers that stand for values on the stack; a tuple's is 1 plus the sum of its parts, so that any list or dictionary
in it shows.
"""
ADDED = dict.fromkeys(
    (
        "NONE",
        "NEWTRUE",
        "NEWFALSE",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG1",
        "BINFLOAT",
        "BINUNICODE",
        "SHORT_BINSTRING",
        "EMPTY_TUPLE",
    ),
    ATOM,
) | {"EMPTY_LIST": HOLDER, "EMPTY_DICT": HOLDER}
TAKEN = {
    "SETITEMS": None,
    "APPENDS": None,
    "TUPLE": None,
    "SETITEM": 2,
    "APPEND": 1,
    "BUILD": 1,
    "TUPLE1": 1,
    "TUPLE2": 2,
    "TUPLE3": 3,
}
"""How many values each opcode takes from the stack and puts into the value below or into a tuple; None: all since the
last mark.
"""
MOST_WITHIN = 100_000
"""Most values of a tuple, where nested ones count each time they occur, as they do in reading time."""
OF_STORAGE = 6
"""Number of a tuple that names a tensor's bytes: five texts and numbers. torch would print any other in an error,
however large.
"""


def check_pickle(content: bytes) -> None:
    """Checks a pickle by following its opcodes with a number in place of each value.

    Raises:
        Damaged: it contains something other than plain values and tensors, or too deeply nested tuples.
    """
    try:
        _follow(content)
    except (ValueError, LookupError) as error:  # from pickletools, and from an empty stack
        if isinstance(error, Damaged):
            raise
        raise Damaged("its values (data.pkl) are truncated or missing") from error


def _follow(content: bytes) -> None:
    stack: list[int] = []
    marks: list[int] = []
    memo: dict[Any, int] = {}
    for code, argument, _ in pickletools.genops(content):
        name = code.name
        if name in ADDED:
            stack.append(ADDED[name])
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "MARK":
            marks.append(len(stack))
        elif name in TAKEN:
            _take(stack, marks, name)
        elif name in ("GLOBAL", "REDUCE", "BINPERSID"):
            _make(stack, name, str(argument))
        elif name not in ("PROTO", "STOP"):
            raise Damaged(f"it has the opcode {name}, which torch.save does not write")


def _take(stack: list[int], marks: list[int], name: str) -> None:
    count = TAKEN[name]
    first = marks.pop() if count is None else len(stack) - count
    if first < 0:
        raise IndexError
    within = ATOM + sum(max(part, ATOM) for part in stack[first:])
    del stack[first:]
    if name.startswith("TUPLE"):
        if within > MOST_WITHIN:
            raise Damaged(f"it holds a tuple of more than {MOST_WITHIN:,} values")
        stack.append(within)


def _make(stack: list[int], name: str, argument: str) -> None:
    if name == "GLOBAL":
        if not MADE.fullmatch(argument):
            raise Damaged(f"it imports {argument[:80]!r}, which a file of values and tensors does not need")
        stack.append(A_NAME)
    elif name == "REDUCE":
        if stack[-2] != A_NAME:
            raise Damaged("it calls a function other than those that build tensors")
        stack[-2:] = [HOLDER]
    else:
        if stack[-1] != OF_STORAGE:
            raise Damaged("the name of a tensor's bytes in it is invalid")
        stack[-1] = HOLDER
