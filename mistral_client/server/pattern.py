r"""Regular expressions as automata: what `pattern` of a JSON schema allows, character by character.

Followed are literals, classes, `.`, `*`, `+`, `?`, `{m,n}`, groups, alternation, and the anchors `^` and `$` at the
ends of the whole pattern. Dialects differ in what `\d`, `\w`, `\s` and `.` stand for: only characters are allowed on
which ECMAScript, Python and Rust agree, so that any of them accepts the string.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .engine import UnsupportedError

Ranges = tuple[tuple[int, int], ...]
"""A set of characters: code points from, to (included); sorted, and apart from each other."""

_LAST = 0x10FFFF
_MAX_NODES = 20_000
_MAX_DEPTH = 50
_MAX_STATES = 1_000
_MAX_RANGES = 200_000
"""Of all states together."""
_MAX_STEPS = 1_000_000
"""Of the work on one pattern: about a second."""

_SPACE = ((9, 13), (32, 32))
_ANY_SPACE = (
    *((9, 13), (28, 32), (0x85, 0x85), (0xA0, 0xA0), (0x1680, 0x1680), (0x180E, 0x180E), (0x2000, 0x200A)),
    *((0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF)),
)
_DIGIT = ((48, 57),)
_WORD = ((48, 57), (65, 90), (95, 95), (97, 122))
_LINE_ENDS = ((10, 10), (13, 13), (0x85, 0x85), (0x2028, 0x2029))
_FOREIGN = (128, _LAST)

_CONTROLS = {"n": 10, "r": 13, "t": 9, "f": 12, "v": 11}
_SPECIAL = set("\\^$.*+?()[]{}|/-")


def union(*sets: Ranges) -> Ranges:
    found: list[tuple[int, int]] = []
    for low, high in sorted(one for ranges in sets for one in ranges):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return tuple(found)


def without(ranges: Ranges) -> Ranges:
    """All other characters."""
    found, at = [], 0
    for low, high in ranges:
        if at < low:
            found.append((at, low - 1))
        at = high + 1
    return (*found, (at, _LAST)) if at <= _LAST else tuple(found)


_CLASSES = {
    "d": (_DIGIT, union(_DIGIT, (_FOREIGN,))),
    "w": (_WORD, union(_WORD, (_FOREIGN,))),
    "s": (_SPACE, _ANY_SPACE),
}
"""The characters that surely are in, and those that may be in."""
_CLASSES |= {name.upper(): (without(most), without(least)) for name, (least, most) in _CLASSES.items()}

_VALID = without(((0xD800, 0xDFFF),))
_DOT = without(_LINE_ENDS)


@dataclass
class Automaton:
    """Deterministic; begins in state 0."""

    moves: list[list[tuple[Ranges, int]]] = field(default_factory=list)
    """For each state, with which characters it goes to which."""
    ends: list[bool] = field(default_factory=list)
    """Whether a string may end in the state. Every state leads to one of them."""
    steps: int = 0
    """The work that it took, of which 1,000,000 are about a second."""


def automaton(pattern: str, least: int = 0, most: int | None = None) -> Automaton:
    """The strings that a pattern is found in, of at least and at most so many characters.

    Raises `UnsupportedError` for a pattern that cannot be followed, and for one that no such string has.
    """
    reader = _Reader(pattern)
    return _pruned(_determined(reader, reader.whole(), least, most))


class _Reader:
    """Reads a pattern into an automaton with several ways (Thompson's construction)."""

    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._at = 0
        self._depth = 0
        self.steps = 0
        self.empty: list[list[int]] = []
        """For each node, where it goes without a character."""
        self.moves: list[tuple[Ranges, int] | None] = []
        self.end = self._node()
        self.free = self._node()
        """Here anything may follow."""

    def whole(self) -> int:
        """The node where the pattern begins."""
        begin = self._node()
        while True:
            anchored = self._take("^")
            start, end = self._sequence()
            self.empty[begin].append(start if anchored else self._loop(start))
            self.empty[end].append(self.end if self._take("$") else self.free)
            if not self._take("|"):
                break
        if self._at < len(self._text):
            raise self._refused()
        return begin

    def spend(self, steps: int) -> None:
        """Count the work. Raises `UnsupportedError` when it gets too much."""
        self.steps += steps
        if self.steps > _MAX_STEPS:
            raise UnsupportedError("the pattern is too large to be followed")

    def _loop(self, start: int) -> int:
        """Any characters, and then what starts there."""
        node, back = self._node(), self._node()
        self.moves[back] = (_VALID, node)
        self.empty[node] += [start, back]
        return node

    def _node(self) -> int:
        if len(self.empty) >= _MAX_NODES:
            raise UnsupportedError("the pattern is too large to be followed")
        self.empty.append([])
        self.moves.append(None)
        return len(self.empty) - 1

    def _refused(self) -> UnsupportedError:
        rest = self._text[self._at : self._at + 20]
        return UnsupportedError(f"the pattern cannot be followed from {rest!r} on")

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self, text: str) -> bool:
        found = self._text.startswith(text, self._at)
        self._at += len(text) if found else 0
        return found

    def _next(self) -> str:
        letter = self._peek()
        if not letter:
            raise self._refused()
        self._at += 1
        return letter

    def _sequence(self) -> tuple[int, int]:
        start = end = self._node()
        while self._peek() not in ("", "|", ")", "$"):
            first, end_of_piece = self._repeated()
            self.empty[end].append(first)
            end = end_of_piece
        return start, end

    def _repeated(self) -> tuple[int, int]:
        begun = self._at
        piece = self._piece()
        least, most = self._counts()
        self._take("?")  # Lazy or not, the same strings match.
        if self._peek() and self._peek() in "*+?{":
            raise self._refused()
        resume = self._at
        if most is not None and least > most:
            raise self._refused()
        start = end = self._node()
        exit_ = self._node()
        for n in range(max(least, most or 0, 1)):
            if n:
                # A copy: the piece is read once more.
                self._at = begun
                piece = self._piece()
            if n >= least:
                self.empty[end].append(exit_)
            if n < (1 if most is None else most) or n < least:
                self.empty[end].append(piece[0])
                end = piece[1]
        if most is None:
            self.empty[piece[1]].append(piece[0])
        self.empty[end].append(exit_)
        self._at = resume
        return start, exit_

    def _counts(self) -> tuple[int, int | None]:
        if self._take("*"):
            return 0, None
        if self._take("+"):
            return 1, None
        if self._take("?"):
            return 0, 1
        if not self._take("{"):
            return 1, 1
        least = self._count()
        most: int | None = least
        if self._take(","):
            most = None if self._peek() == "}" else self._count()
        if not self._take("}"):
            raise self._refused()
        return least, most

    def _count(self) -> int:
        digits = ""
        while self._peek() and self._peek() in "0123456789":
            digits += self._next()
        if not digits or len(digits) > 4:
            raise self._refused()
        return int(digits)

    def _piece(self) -> tuple[int, int]:
        if self._take("("):
            return self._group()
        letter = self._peek()
        if letter in "*+?{}])^$":
            raise self._refused()
        if self._take("["):
            ranges = self._class()
        elif self._take("."):
            ranges = _DOT
        elif self._take("\\"):
            ranges = self._escape()[0]
        else:
            code = ord(self._next())
            ranges = ((code, code),)
        start, end = self._node(), self._node()
        self.moves[start] = (ranges, end)
        return start, end

    def _group(self) -> tuple[int, int]:
        if self._peek() == "?" and not self._take("?:"):
            raise self._refused()
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._refused()
        start, end = self._node(), self._node()
        while True:
            first, last = self._sequence()
            self.empty[start].append(first)
            self.empty[last].append(end)
            if not self._take("|"):
                break
        if not self._take(")"):
            raise self._refused()
        self._depth -= 1
        return start, end

    def _escape(self) -> tuple[Ranges, Ranges]:
        """The characters that surely, and that maybe, are meant by what follows a backslash."""
        letter = self._next()
        if letter in _CLASSES:
            return _CLASSES[letter]
        if letter in _CONTROLS:
            code = _CONTROLS[letter]
        elif letter in _SPECIAL:
            code = ord(letter)
        elif letter in ("x", "u"):
            digits = "".join(self._next() for _ in range(2 if letter == "x" else 4))
            if not all(digit in "0123456789abcdefABCDEF" for digit in digits):
                raise self._refused()
            code = int(digits, 16)
        else:
            self._at -= 1
            raise self._refused()
        return ((code, code),), ((code, code),)

    def _class(self) -> Ranges:
        negated = self._take("^")
        # Dialects differ in what these mean.
        if self._peek() == "]":
            raise self._refused()
        found: list[Ranges] = []
        while not self._take("]"):
            one = self._in_class()
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                self._at += 1
                low, high = one[0], self._in_class()[0]
                if not (_is_one(low) and _is_one(high)) or low[0][0] > high[0][0]:
                    raise self._refused()
                found.append(((low[0][0], high[0][0]),))
            else:
                found.append(one[1] if negated else one[0])
        self.spend(len(found))
        whole = union(*found)
        return without(whole) if negated else whole

    def _in_class(self) -> tuple[Ranges, Ranges]:
        if self._take("\\"):
            return self._escape()
        if self._peek() == "[" or self._text[self._at : self._at + 2] in ("&&", "--", "~~", "||"):
            raise self._refused()
        code = ord(self._next())
        return ((code, code),), ((code, code),)


def _is_one(ranges: Ranges) -> bool:
    return len(ranges) == 1 and ranges[0][0] == ranges[0][1]


def _determined(reader: _Reader, begin: int, least: int, most: int | None) -> Automaton:
    """One way for each string: several at once would cost time on each token."""
    last = least if most is None else most

    def closed(nodes: set[int]) -> frozenset[int]:
        ahead, seen = list(nodes), set(nodes)
        while ahead:
            for node in reader.empty[ahead.pop()]:
                if node not in seen:
                    seen.add(node)
                    ahead.append(node)
        reader.spend(len(seen))
        if reader.free in seen:
            return frozenset({reader.free})
        return frozenset(node for node in seen if reader.moves[node] or node == reader.end)

    found = Automaton()
    numbers = {(closed({begin}), 0): 0}
    ahead = list(numbers)
    ranges = 0
    for nodes, length in ahead:
        found.ends.append(length >= least and (reader.end in nodes or reader.free in nodes))
        steps: dict[int, Ranges] = {}
        if most is None or length < most:
            for (low, high), to in _steps(reader, nodes):
                state = (closed(to), min(length + 1, last))
                if state not in numbers:
                    numbers[state] = len(ahead)
                    ahead.append(state)
                steps[numbers[state]] = (*steps.get(numbers[state], ()), (low, high))
        found.moves.append([(union(characters), to) for to, characters in steps.items()])
        ranges += sum(len(characters) for characters in steps.values())
        if len(ahead) > _MAX_STATES or ranges > _MAX_RANGES:
            raise UnsupportedError("the pattern is too large to be followed")
    found.steps = reader.steps
    return found


def _steps(reader: _Reader, nodes: frozenset[int]) -> list[tuple[tuple[int, int], set[int]]]:
    """Where to with which characters, without overlap."""
    if nodes == {reader.free}:
        return [(one, {reader.free}) for one in _VALID]
    marks: dict[int, list[tuple[bool, int]]] = {}
    for node in nodes:
        move = reader.moves[node]
        reader.spend(len(move[0]) if move else 1)
        for low, high in move[0] if move else ():
            for begin, end in ((low, min(high, 0xD7FF)), (max(low, 0xE000), high)):
                if move and begin <= end:
                    marks.setdefault(begin, []).append((True, move[1]))
                    marks.setdefault(end + 1, []).append((False, move[1]))
    found: list[tuple[tuple[int, int], set[int]]] = []
    counts: dict[int, int] = {}
    before = 0
    for at in sorted(marks):
        reader.spend(len(counts))
        if counts:
            found.append(((before, at - 1), set(counts)))
        for begins, to in marks[at]:
            counts[to] = counts.get(to, 0) + (1 if begins else -1)
            if not counts[to]:
                del counts[to]
        before = at
    return found


def _pruned(whole: Automaton) -> Automaton:
    """Without the states that lead nowhere."""
    comes_from: list[list[int]] = [[] for _ in whole.ends]
    for state, moves in enumerate(whole.moves):
        for _, to in moves:
            comes_from[to].append(state)
    alive = {state for state, ends in enumerate(whole.ends) if ends}
    ahead = list(alive)
    while ahead:
        for state in comes_from[ahead.pop()]:
            if state not in alive:
                alive.add(state)
                ahead.append(state)
    if 0 not in alive:
        raise UnsupportedError("no string has the pattern")
    numbers = {state: n for n, state in enumerate(sorted(alive))}
    return Automaton(
        [[(ranges, numbers[to]) for ranges, to in whole.moves[state] if to in alive] for state in sorted(alive)],
        [whole.ends[state] for state in sorted(alive)],
        whole.steps,
    )
