"""Which lines of a file are the same in another version of it: the lines that stand once in both, in order, and what
stands between them (Bram Cohen's patience diff).

It takes about as long as the files are, where an exhaustive comparison can take the square of that.
"""

import difflib
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

# Where no line stands once on both sides, lines are compared exhaustively, up to this many pairs.
_MAX_PAIRS = 250_000


def split_lines(content: bytes) -> list[bytes]:
    """The lines of a file without their ends. A last line that has no end is given one, which no other has: it is not
    the same as a line that has."""
    lines = content.split(b"\n")
    last = lines.pop()
    if last:
        lines.append(last + b"\n")
    return lines


def match_lines(old: Sequence[bytes], new: Sequence[bytes]) -> list[int]:
    """For each line of `new` the number of the same line in `old`, counted from 0, or -1 for a line that is new.

    The numbers grow. Lines that were moved are new in one of their places.
    """
    matched = [-1] * len(new)
    pending = [(0, len(old), 0, len(new))]
    while pending:
        old_from, old_to, new_from, new_to = pending.pop()
        alike = _alike(old, new, old_from, new_from, min(old_to - old_from, new_to - new_from), 1)
        matched[new_from : new_from + alike] = range(old_from, old_from + alike)
        old_from += alike
        new_from += alike
        alike = _alike(old, new, old_to, new_to, min(old_to - old_from, new_to - new_from), -1)
        matched[new_to - alike : new_to] = range(old_to - alike, old_to)
        old_to -= alike
        new_to -= alike
        if old_from == old_to or new_from == new_to:
            continue
        anchors = _anchors(old, new, old_from, old_to, new_from, new_to)
        if anchors:
            before_old, before_new = old_from, new_from
            for at_old, at_new in anchors:
                matched[at_new] = at_old
                pending.append((before_old, at_old, before_new, at_new))
                before_old, before_new = at_old + 1, at_new + 1
            pending.append((before_old, old_to, before_new, new_to))
        elif added := _only_added(old[old_from:old_to], new[new_from:new_to]):
            for number, place in enumerate(added):
                matched[new_from + place] = old_from + number
        elif (old_to - old_from) * (new_to - new_from) <= _MAX_PAIRS:
            matcher = difflib.SequenceMatcher(None, old[old_from:old_to], new[new_from:new_to], autojunk=False)
            for block in matcher.get_matching_blocks():
                for number in range(block.size):
                    matched[new_from + block.b + number] = old_from + block.a + number
    return matched


def _alike(old: Sequence[bytes], new: Sequence[bytes], at_old: int, at_new: int, most: int, way: int) -> int:
    """How many lines are the same from these places on (`way` 1) or before them (`way` -1), of `most` that there are.
    Many are compared at once: nearly all of a large file is the same in the version before."""
    alike, step = 0, 64
    growing = True
    while alike < most and step:
        size = min(step, most - alike)
        from_old = at_old + alike if way > 0 else at_old - alike - size
        from_new = at_new + alike if way > 0 else at_new - alike - size
        if old[from_old : from_old + size] == new[from_new : from_new + size]:
            alike += size
            step = step * 2 if growing else step
        else:
            growing = False
            step = size // 2
    return alike


def _only_added(old: Sequence[bytes], new: Sequence[bytes]) -> list[int]:
    """Where the lines of `old` stand in `new`, if all of them do, in order; else nothing. (What is compared
    exhaustively begins with the longest block, which can leave no room for the others.)"""
    places: list[int] = []
    at = 0
    for line in old:
        try:
            at = new.index(line, at) + 1
        except ValueError:
            return []
        places.append(at - 1)
    return places


def _anchors(
    old: Sequence[bytes], new: Sequence[bytes], old_from: int, old_to: int, new_from: int, new_to: int
) -> list[tuple[int, int]]:
    """The longest run of growing pairs of lines that stand once on both sides."""
    once_old = Counter(old[old_from:old_to])
    once_new = Counter(new[new_from:new_to])
    at_new = {
        new[number]: number
        for number in range(new_from, new_to)
        if once_new[new[number]] == 1 and once_old.get(new[number]) == 1
    }
    if not at_new:
        return []
    pairs = [(number, at_new[old[number]]) for number in range(old_from, old_to) if old[number] in at_new]
    # The longest growing subsequence: `ends` has the smallest last line of a run of each length.
    ends: list[int] = []
    tops: list[int] = []
    back: list[int] = []
    for index, (_, place) in enumerate(pairs):
        length = bisect_left(ends, place)
        back.append(tops[length - 1] if length else -1)
        if length == len(ends):
            ends.append(place)
            tops.append(index)
        else:
            ends[length] = place
            tops[length] = index
    run: list[tuple[int, int]] = []
    index = tops[-1]
    while index >= 0:
        run.append(pairs[index])
        index = back[index]
    return run[::-1]
