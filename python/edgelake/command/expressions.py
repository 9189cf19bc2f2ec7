"""``python <expression>``: a small evaluator over the syntax tree. Nothing is run as code.

Values are numbers, text, booleans, None, lists, tuples, dicts and datetimes; calls go to a fixed table; sizes and
the number of steps are bounded, so that no expression hangs the node.

Source: spec "Command language", section 9.
"""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from edgelake import errors
from edgelake.errors import CommandError, EdgeLakeError

MAX_TEXT = 20_000
MAX_SIZE = 10_000
MAX_STEPS = 2_000
MAX_BITS = 4096

# fmt: off
_METHODS: dict[type, frozenset[str]] = {
    str: frozenset(
        (
            "capitalize", "casefold", "count", "endswith", "find", "index", "isalnum", "isalpha", "isdigit",
            "islower", "isnumeric", "isspace", "isupper", "join", "lower", "lstrip", "partition",
            "removeprefix", "removesuffix", "replace", "rfind", "rindex", "rpartition", "rsplit", "rstrip",
            "split", "splitlines", "startswith", "strip", "swapcase", "title", "upper", "zfill", "center",
            "ljust", "rjust",
        )
    ),
    list: frozenset({"count", "index"}),
    tuple: frozenset({"count", "index"}),
    dict: frozenset({"get", "keys", "values", "items"}),
    datetime: frozenset({"strftime", "isoformat", "date", "timestamp", "weekday", "isoweekday", "replace"}),
    date: frozenset({"strftime", "isoformat", "weekday", "isoweekday"}),
    timedelta: frozenset({"total_seconds"}),
    int: frozenset({"bit_length"}),
    float: frozenset({"is_integer"}),
}
# fmt: on
_ATTRIBUTES: dict[type, frozenset[str]] = {
    datetime: frozenset({"year", "month", "day", "hour", "minute", "second", "microsecond"}),
    date: frozenset({"year", "month", "day"}),
    timedelta: frozenset({"days", "seconds", "microseconds"}),
}
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Not: operator.not_,
    ast.Invert: operator.invert,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "bool": bool,
    "float": float,
    "int": int,
    "len": len,
    "list": list,
    "max": max,
    "min": min,
    "round": round,
    "sorted": sorted,
    "str": str,
    "sum": sum,
}
_DATES: dict[str, Callable[..., Any]] = {
    "datetime.now": lambda *_: datetime.now(),
    "datetime.today": lambda *_: datetime.now(),
    "datetime.utcnow": lambda *_: datetime.now(UTC).replace(tzinfo=None),
    "datetime.strptime": datetime.strptime,
    "datetime.fromisoformat": datetime.fromisoformat,
    "datetime.fromtimestamp": lambda at: datetime.fromtimestamp(at),
    "date.today": lambda *_: datetime.now().date(),
    "timedelta": timedelta,
    "datetime": datetime,
}


def evaluate(text: str) -> Any:
    """Value of one expression.

    Raises: CommandError for what is not allowed or does not parse; error 3 for an expression that fails.
    """
    if len(text) > MAX_TEXT:
        raise CommandError(f"the expression has more than {MAX_TEXT} characters")
    try:
        with warnings.catch_warnings():  # text like "1 is 1" makes the parser warn; that is the writer's affair
            warnings.simplefilter("ignore")
            tree = ast.parse(text.strip(), mode="eval")
        return _Evaluator().value(tree.body)
    except EdgeLakeError:
        raise
    except (SyntaxError, RecursionError, MemoryError) as cause:
        raise CommandError(f"'{text[:80]}' is no expression: {cause}") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as cause:
        raise errors.error(3, f"'{text[:80]}': {type(cause).__name__}: {cause}") from None


class _Evaluator:
    def __init__(self) -> None:
        self._steps = 0

    def value(self, node: ast.expr) -> Any:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise CommandError(f"the expression takes more than {MAX_STEPS} steps")
        found = getattr(self, f"_{type(node).__name__.lower()}", None)
        if found is None:
            raise CommandError(f"'{ast.unparse(node)[:60]}' is not allowed in an expression")
        return _bounded(found(node))

    def _constant(self, node: ast.Constant) -> Any:
        if isinstance(node.value, bytes | complex) or node.value is ...:
            raise CommandError(f"'{node.value!r}' is not allowed in an expression")
        return node.value

    def _name(self, node: ast.Name) -> Any:
        raise CommandError(f"'{node.id}' is not defined", hint="quote text, and write !name for variables")

    def _list(self, node: ast.List) -> list[Any]:
        return [self.value(item) for item in node.elts]

    def _tuple(self, node: ast.Tuple) -> tuple[Any, ...]:
        return tuple(self.value(item) for item in node.elts)

    def _dict(self, node: ast.Dict) -> dict[Any, Any]:
        if None in node.keys:
            raise CommandError("** is not allowed in an expression")
        return {self.value(k): self.value(v) for k, v in zip(node.keys, node.values, strict=True) if k is not None}

    def _unaryop(self, node: ast.UnaryOp) -> Any:
        return _UNARY[type(node.op)](self.value(node.operand))

    def _binop(self, node: ast.BinOp) -> Any:
        function = _BINARY.get(type(node.op))
        if function is None:
            raise CommandError(f"the operator of '{ast.unparse(node)[:60]}' is not allowed")
        left, right = self.value(node.left), self.value(node.right)
        _check_growth(node.op, left, right)
        return function(left, right)

    def _boolop(self, node: ast.BoolOp) -> Any:
        wanted = isinstance(node.op, ast.Or)
        result: Any = None
        for part in node.values:
            result = self.value(part)
            if bool(result) == wanted:
                break
        return result

    def _compare(self, node: ast.Compare) -> bool:
        left = self.value(node.left)
        for op, item in zip(node.ops, node.comparators, strict=True):
            right = self.value(item)
            if not _COMPARE[type(op)](left, right):
                return False
            left = right
        return True

    def _ifexp(self, node: ast.IfExp) -> Any:
        return self.value(node.body if self.value(node.test) else node.orelse)

    def _subscript(self, node: ast.Subscript) -> Any:
        held = self.value(node.value)
        if isinstance(node.slice, ast.Slice):
            ends = (node.slice.lower, node.slice.upper, node.slice.step)
            return held[slice(*(None if end is None else self.value(end) for end in ends))]
        return held[self.value(node.slice)]

    def _attribute(self, node: ast.Attribute) -> Any:
        held = self.value(node.value)
        if node.attr in _ATTRIBUTES.get(type(held), ()):
            return getattr(held, node.attr)
        raise CommandError(f"'.{node.attr}' is not allowed on {type(held).__name__}")

    def _call(self, node: ast.Call) -> Any:
        if any(isinstance(arg, ast.Starred) for arg in node.args) or any(k.arg is None for k in node.keywords):
            raise CommandError("* is not allowed in a call")
        name, held, function = self._callee(node.func)
        args = [self.value(arg) for arg in node.args]
        named = {k.arg: self.value(k.value) for k in node.keywords if k.arg is not None}
        _check_call(name, held, [*args, *named.values()])
        return function(*args, **named)

    def _callee(self, node: ast.expr) -> tuple[str, Any, Callable[..., Any]]:
        """Name, owner (None for a function) and the function itself, from the tables of what is allowed."""
        name = ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""
        for prefix in ("datetime.datetime", "datetime.date", "datetime.timedelta"):
            if name == prefix or name.startswith(f"{prefix}."):
                name = name.removeprefix("datetime.")
        found = _FUNCTIONS.get(name) or _DATES.get(name)
        if found is not None:
            return name, None, found
        if isinstance(node, ast.Attribute):
            held = self.value(node.value)
            if node.attr in _METHODS.get(type(held), ()):
                method: Callable[..., Any] = getattr(held, node.attr)
                return node.attr, held, _listed(method) if node.attr in ("keys", "values", "items") else method
            raise CommandError(f"'.{node.attr}()' is not allowed on {type(held).__name__}")
        raise CommandError(f"'{name or ast.unparse(node)[:40]}' is no function of expressions")


def _listed(method: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args: list(method(*args))


def _check_growth(op: ast.operator, left: Any, right: Any) -> None:
    """Refuse what grows without bound before it is computed."""
    if isinstance(op, ast.Pow) and isinstance(left, int) and isinstance(right, int):
        if right > MAX_BITS or left.bit_length() * max(right, 1) > MAX_BITS:
            raise CommandError("the power is too large")
    elif isinstance(op, ast.Mult):
        for one, other in ((left, right), (right, left)):
            if isinstance(one, str | list | tuple) and isinstance(other, int) and _size(one) * other > MAX_SIZE:
                raise CommandError("the repetition is too long")
    elif isinstance(op, ast.Mod) and isinstance(left, str):
        raise CommandError("% on text is not allowed", hint="use + and str()")


def _check_call(name: str, held: Any, args: list[Any]) -> None:
    """Bounds for calls that build large values: widths, digits, ``replace`` and ``join``."""
    texts = sum(_size(arg) for arg in args if not isinstance(arg, int | float))
    if any(isinstance(arg, int) and abs(arg) > MAX_SIZE for arg in args) and (held is not None or name == "round"):
        raise CommandError(f"a number in '{name}()' is too large")
    if name in ("replace", "join") and _size(held) * max(texts, 1) > MAX_SIZE * 100:
        raise CommandError(f"the text of '{name}()' would be too long")


def _size(value: Any) -> int:
    """Characters and items of a value, everything inside counted."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(1 + _size(k) + _size(v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return sum(1 + _size(item) for item in value)
    return 1


def _bounded(value: Any) -> Any:
    if isinstance(value, str | list | tuple | dict) and _size(value) > MAX_TEXT:
        raise CommandError("a value of the expression is too long")
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise CommandError("a number of the expression is too large")
    return value
