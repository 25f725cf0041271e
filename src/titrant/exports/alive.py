"""What is alive of a definition, for given recipes: its text with marks where names of this project stand.

A definition keeps the text that it has in its module, its comments and docstrings among it. What no recipe at hand can reach is
left out: branches whose condition is decided by the recipes or by the kinds of their tricks and layers, cases of other kinds,
the counting of receipts, and assertions that only tell types apart.
"""

import ast
import builtins
import inspect
import operator
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from types import ModuleType
from typing import Any

from pydantic import BaseModel
from torch import nn

from titrant.exports.alone import PLACES
from titrant.recipe import Recipe
from titrant.tricks.base import Trick

OWN = __name__.partition(".")[0]
ALONE = f"{OWN}.exports.alone"
_COUNTING = re.compile(r"\b(ledger|probing|_book|_note)\b")
_SINGLE = {  # in modules whose layers may carry a member axis: what holds where there is one network
    f"{OWN}.models.layers": {"self.weight.dim() == 2": True, "x.dim() == 3": False},
    f"{OWN}.models.image": {"weight.dim() == 4": True, "x.dim() == 5": False},
    f"{OWN}.models.series": {"x.dim() == 5": False},
    f"{OWN}.models.table": {"self.table.dim() == 3": False},
    f"{OWN}.models.text": {"table.dim() == 2": True, "self.bias.dim() == 1": True},
    f"{OWN}.tricks.normalize": {"x.dim() == 2": True},
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.Gt: operator.gt, ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
}  # fmt: skip
OPEN, SOFT, CLOSE = "\x01", "\x02", "\x03"  # mark names whose final form is known at the end

Key = tuple[str, str]
"""A module of this project, and a name that it defines."""


def mark(value: Any) -> str:
    """A class or function of this project, as it is marked in what `Book.finished` is given."""
    return f"{OPEN}{value.__module__}:{value.__name__}{CLOSE}"


@dataclass
class Module:
    """The text of a module and what stands at its top."""

    name: str

    @cached_property
    def runtime(self) -> ModuleType:
        """The module itself."""
        return sys.modules[self.name]

    @cached_property
    def text(self) -> str:
        """Its source."""
        return inspect.getsource(self.runtime)

    @cached_property
    def tree(self) -> ast.Module:
        """Parsed."""
        return ast.parse(self.text)

    @cached_property
    def lines(self) -> list[str]:
        """Of the text."""
        return self.text.split("\n")

    @cached_property
    def title(self) -> str:
        """What it is about, in a line."""
        found = (ast.get_docstring(self.tree) or self.name).split("\n\n")[0].replace("\n", " ")
        return found.partition(":")[0] + "." if _COUNTING.search(found) else found

    @cached_property
    def definitions(self) -> dict[str, ast.stmt]:
        """Functions, classes and constants by name."""
        found: dict[str, ast.stmt] = {}
        for node in self.tree.body:
            match node:
                case ast.FunctionDef() | ast.ClassDef():
                    found[node.name] = node
                case ast.Assign(targets=targets):
                    found |= {name.id: node for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
                case ast.AnnAssign(target=ast.Name(id=name)):
                    found[name] = node
        return found

    @cached_property
    def imports(self) -> dict[str, tuple[str, str | None]]:
        """By the name that is used here, the module and the name there; None for a module itself."""
        found: dict[str, tuple[str, str | None]] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for one in node.names:
                    found[one.asname or one.name] = (one.name, None)
            elif isinstance(node, ast.ImportFrom) and node.module:
                for one in node.names:
                    inner = f"{node.module}.{one.name}"
                    found[one.asname or one.name] = (inner, None) if inner in sys.modules else (node.module, one.name)
        return found

    def at(self, line: int, column: int) -> int:
        """The place in the text of a line (from 1) and a column in bytes."""
        return self._starts[line - 1] + len(self.lines[line - 1].encode()[:column].decode())

    @cached_property
    def _starts(self) -> list[int]:
        starts = [0]
        for line in self.lines:
            starts.append(starts[-1] + len(line) + 1)
        return starts


@cache
def module_of(name: str) -> Module:
    """The module of a name, which is read once."""
    return Module(name)


def node_of(key: Key) -> ast.stmt:
    """The statement that defines a name."""
    return module_of(key[0]).definitions[key[1]]


def value_of(key: Key) -> Any:
    """What a name stands for."""
    return getattr(module_of(key[0]).runtime, key[1])


def resolved(module: str, name: str) -> Key | tuple[str, str, str | None]:
    """Where a name is defined: a key, or for other packages the name, its module, and the name there."""
    if PLACES.get(name) == module:
        return (ALONE, name)
    here = module_of(module)
    if name in here.definitions:
        return (module, name)
    place = here.imports[name]
    if not place[0].startswith(f"{OWN}."):
        return (name, *place)
    return resolved(place[0], place[1] or name)


@dataclass
class Part:
    """The text of a piece of code, in which names of this project are marked; and what it uses.

    Args:
        text: with marks.
        hard: definitions that it needs.
        pinned: those that stand inside f-strings, where names are not marked.
        outside: names of other packages: what is used here, module, name there.
        words: attributes that it asks for, and words in strings.
    """

    text: str = ""
    hard: set[Key] = field(default_factory=set)
    pinned: set[Key] = field(default_factory=set)
    outside: set[tuple[str, str, str | None]] = field(default_factory=set)
    words: set[str] = field(default_factory=set)


class Given:
    """What is known when a script is made.

    Args:
        recipes: of all its networks.
        modules: encoders and networks, whose layers may occur.
    """

    def __init__(self, recipes: Sequence[Recipe], modules: Iterable[nn.Module]) -> None:
        self.recipes = list(recipes)
        tricks = [trick for recipe in recipes for _, trick in recipe.tricks()]
        self.alive: set[type] = {type(trick) for trick in tricks}
        self.alive |= {type(part) for module in modules for part in module.modules()}

    def values(self, node: ast.expr) -> list[Any] | None:
        """What an expression is for each recipe; None where recipes do not say."""
        text = ast.unparse(node)
        found = re.fullmatch(r"(?:self\.|members?(?:\[0\])?\.|m\.)?(recipes?(?:\[0\])?|data|model)((?:\.\w+)*)", text)
        if found is None:
            return None
        root, path = found.groups()
        names = ([] if root.startswith("recipe") else [root]) + path.split(".")[1:]
        values: list[Any] = list(self.recipes)
        for name in names:
            if not all(isinstance(value, BaseModel) and hasattr(value, name) for value in values):
                return None
            values = [getattr(value, name) for value in values]
        return values

    def decides(self, kinds: Sequence[type]) -> bool:
        """Whether nothing that is alive can be of these kinds."""
        told = all(issubclass(kind, Trick | nn.Module) for kind in kinds)
        return told and not any(issubclass(one, kind) for one in self.alive for kind in kinds)


class Reader:
    """Makes parts of the nodes of one module.

    Args:
        module: whose nodes.
        given: what is known.
    """

    def __init__(self, module: Module, given: Given) -> None:
        self.module = module
        self.given = given
        self.part = Part()
        self.scopes: list[set[str]] = []

    # ---------------------------------------------------------------- blocks

    def block(self, body: Sequence[ast.stmt], left: int = 0) -> list[str]:
        """Lines of statements, moved to the left by so many columns; of an empty block `pass`."""
        lines: list[str] = []
        for node in body:
            found = self.statement(node, left)
            if found is None:
                continue
            lines += [_moved(line, left) for line in self._above(node)] + found
            if isinstance(node, ast.Return | ast.Raise) or (isinstance(node, ast.If) and self._ends(node)):
                break
        if not any(line.strip() and not line.strip().startswith("#") for line in lines) and body:
            lines.append(" " * (body[0].col_offset - left) + "pass")
        return lines

    def statement(self, node: ast.stmt, left: int = 0) -> list[str] | None:
        """Lines of a statement; None where nothing is left of it."""
        if isinstance(node, ast.Assert) or self._counts(node):
            return None
        match node:
            case ast.If():
                return self._if(node, left)
            case ast.Match():
                return self._match(node, left)
            case ast.FunctionDef():
                return self._function(node, left)
            case ast.For() | ast.While() | ast.With():
                return self._head(node, node.body[0], left) + self.block(node.body, left)
            case ast.Try():
                return self._try(node, left)
            case ast.Expr(value=ast.Constant(value=str() as text)):
                return _docstring(text, node.col_offset - left)
        start = self.module.at(node.lineno, 0)
        end = self.module.at(node.end_lineno or node.lineno, 1 << 30)
        return [_moved(line, left) for line in self._text(node, start, end).split("\n")]

    def _counts(self, node: ast.stmt) -> bool:
        """Whether a statement only counts what tricks did."""
        match node:
            case ast.Expr(value=ast.Call(func=func)):
                return bool(_COUNTING.search(ast.unparse(func)))
            case ast.Assign(targets=[target]) | ast.AnnAssign(target=target):
                return bool(re.fullmatch(r"(self\.|module\.)?ledger", ast.unparse(target)))
        return False

    def _ends(self, node: ast.If) -> bool:
        """Whether a condition that always holds ends what follows it."""
        return self.constant(node.test) is True and isinstance(node.body[-1], ast.Return | ast.Raise)

    def _if(self, node: ast.If, left: int) -> list[str] | None:
        branches: list[tuple[ast.expr | None, list[ast.stmt]]] = []
        rest: list[ast.stmt] = [node]
        while len(rest) == 1 and isinstance(rest[0], ast.If) and (rest[0] is node or rest[0].col_offset == node.col_offset):
            one = rest[0]
            known = self.constant(one.test)
            if known is not False:
                branches.append((None if known else one.test, one.body))
            rest = [] if known else one.orelse
        if rest:
            branches.append((None, rest))
        if not branches:
            return None
        if branches[0][0] is None:
            body = branches[0][1]
            return self.block(body, left + body[0].col_offset - node.col_offset) if not _only_pass(body) else None
        indent = " " * (node.col_offset - left)
        lines: list[str] = []
        for place, (test, body) in enumerate(branches):
            inner = self.block(body, left)
            if len(branches) == 1 and [line.strip() for line in inner] == ["pass"] and not _only_pass(body):
                return None
            word = "if" if place == 0 else "elif"
            lines.append(f"{indent}else:" if test is None else f"{indent}{word} {self.expression(test)}:")
            lines += inner
        return lines

    def _match(self, node: ast.Match, left: int) -> list[str] | None:
        cases = [case for case in node.cases if not self._dead(case.pattern)]
        named = [case for case in cases if isinstance(case.pattern, ast.MatchClass) and case.guard is None]
        subject = self.given.values(node.subject)
        if len(named) == 1 and subject is not None and not _only_pass(named[0].body):
            kinds = self._kinds(named[0].pattern.cls)  # type: ignore[attr-defined]  # a class pattern
            if kinds and all(isinstance(value, tuple(kinds)) for value in subject):
                body = named[0].body
                return self.block(body, left + body[0].col_offset - node.col_offset)
        if not cases:
            return None
        indent = " " * (node.col_offset - left)
        lines = [f"{indent}match {self.expression(node.subject)}:"]
        for case in cases:
            guard = "" if case.guard is None else f" if {self.expression(case.guard)}"
            lines += [f"{indent}    case {self._pattern(case.pattern)}{guard}:", *self.block(case.body, left)]
        return lines

    def _dead(self, pattern: ast.pattern) -> bool:
        match pattern:
            case ast.MatchClass(cls=cls):
                kinds = self._kinds(cls)
                return kinds is not None and self.given.decides(kinds)
            case ast.MatchOr(patterns=patterns):
                return all(self._dead(one) for one in patterns)
        return False

    def _pattern(self, pattern: ast.pattern) -> str:
        if isinstance(pattern, ast.MatchOr):
            return " | ".join(self._pattern(one) for one in pattern.patterns if not self._dead(one))
        for name in ast.walk(pattern):
            if isinstance(name, ast.Name | ast.Attribute):
                self._note(name)
        start, end = self._span(pattern)
        edits = [edit for one in ast.walk(pattern) if isinstance(one, ast.Name | ast.Attribute) for edit in self._named(one)]
        return self._edited(start, end, edits)

    def _try(self, node: ast.Try, left: int) -> list[str]:
        indent = " " * (node.col_offset - left)
        lines = [f"{indent}try:", *self.block(node.body, left)]
        for handler in node.handlers:
            caught = "" if handler.type is None else f" {self.expression(handler.type)}"
            named = "" if handler.name is None else f" as {handler.name}"
            lines += [f"{indent}except{caught}{named}:", *self.block(handler.body, left)]
        if node.orelse:
            lines += [f"{indent}else:", *self.block(node.orelse, left)]
        if node.finalbody:
            lines += [f"{indent}finally:", *self.block(node.finalbody, left)]
        return lines

    def _function(self, node: ast.FunctionDef, left: int) -> list[str]:
        arguments = {one.arg for one in ast.walk(node.args) if isinstance(one, ast.arg)}
        self.scopes.append(arguments | _bound(node.body))
        lines = self._head(node, node.body[0], left)
        lines += self.block(node.body, left)
        self.scopes.pop()
        return lines

    def _head(self, node: ast.stmt, inner: ast.stmt, left: int) -> list[str]:
        """The lines of a compound statement before its body."""
        decorators = getattr(node, "decorator_list", [])
        first = min([node.lineno, *(one.lineno for one in decorators)])
        last = _first_line(inner) - 1
        while self.module.lines[last - 1].strip().startswith("#") or not self.module.lines[last - 1].strip():
            last -= 1
        text = self._text(node, self.module.at(first, 0), self.module.at(last, 1 << 30), until=(last, 1 << 30))
        return [_moved(line, left) for line in text.split("\n")]

    def _above(self, node: ast.stmt) -> list[str]:
        """Comment lines and blank ones right above a statement."""
        first = last = _first_line(node) - 1
        while first > 0 and (not self.module.lines[first - 1].strip() or self.module.lines[first - 1].strip().startswith("#")):
            first -= 1
        return [line for line in self.module.lines[first:last] if not line.strip().startswith("# ---")]

    # ----------------------------------------------------------- expressions

    def expression(self, node: ast.AST) -> str:
        """The text of an expression, without what cannot be."""
        start, end = self._span(node)
        return self._edited(start, end, self._edits(node))

    def _text(self, node: ast.AST, start: int, end: int, until: tuple[int, int] | None = None) -> str:
        edits: list[tuple[int, int, str]] = []
        if isinstance(node, ast.AnnAssign):
            edits = self._edits(node)
        for child in ast.iter_child_nodes(node) if not isinstance(node, ast.AnnAssign) else ():
            if until is not None and isinstance(child, ast.stmt):
                continue
            of_result = isinstance(node, ast.FunctionDef) and child is node.returns
            edits += self._annotation(node.returns, keep=True) if of_result else self._edits(child)  # type: ignore[attr-defined]
        return self._edited(start, end, [edit for edit in edits if start <= edit[0] and edit[1] <= end])

    def _edited(self, start: int, end: int, edits: list[tuple[int, int, str]]) -> str:
        pieces, at = [], start
        for begin, stop, text in sorted(edits):
            if begin < at:
                continue
            pieces += [self.module.text[at:begin], text]
            at = stop
        return "".join([*pieces, self.module.text[at:end]])

    def _span(self, node: Any) -> tuple[int, int]:
        return self.module.at(node.lineno, node.col_offset), self.module.at(node.end_lineno, node.end_col_offset)

    def _edits(self, node: ast.AST) -> list[tuple[int, int, str]]:
        """What to change in the text of a node."""
        match node:
            case ast.JoinedStr():
                self._inside(node)
                return []
            case ast.Constant(value=str() as text):
                self.part.words.update(re.findall(r"\w+", text) if len(text) < 60 else ())
                return []
            case ast.arg():
                return self._annotation(node.annotation) if node.annotation is not None else []
            case ast.arguments():
                return self._arguments(node)
            case ast.AnnAssign():
                value = [] if node.value is None else self._edits(node.value)
                return [*self._edits(node.target), *self._annotation(node.annotation, keep=True), *value]
            case ast.Name() | ast.Attribute():
                if (known := self._named(node)) or isinstance(node, ast.Name):
                    return known
                self._note(node)
                return self._edits(node.value) if isinstance(node, ast.Attribute) else []
            case ast.BoolOp() | ast.UnaryOp(op=ast.Not()) | ast.Compare() | ast.Call():
                known_value = self.constant(node)
                if known_value is not None:
                    return [(*self._span(node), str(known_value))]
            case ast.IfExp():
                known_value = self.constant(node.test)
                if known_value is not None:
                    chosen = node.body if known_value else node.orelse
                    text = self.expression(chosen)
                    bare = isinstance(chosen, ast.Name | ast.Call | ast.Attribute | ast.Constant | ast.Subscript | ast.List)
                    return [(*self._span(node), text if bare else f"({text})")]
            case ast.ListComp() | ast.SetComp() if any(
                self.constant(test) is False for one in node.generators for test in one.ifs
            ):
                return [(*self._span(node), "[]" if isinstance(node, ast.ListComp) else "set()")]
            case ast.comprehension():
                return self._comprehension(node)
        if isinstance(node, ast.BoolOp):
            return self._joined(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        edits: list[tuple[int, int, str]] = []
        for child in ast.iter_child_nodes(node):
            edits += self._edits(child)
        return edits

    def _comprehension(self, node: ast.comprehension) -> list[tuple[int, int, str]]:
        edits = [*self._edits(node.target), *self._edits(node.iter)]
        for test in node.ifs:
            if self.constant(test) is True:
                start, end = self._span(test)
                edits.append((self.module.text.rindex(" if ", 0, start), end, ""))
            else:
                edits += self._edits(test)
        return edits

    def _joined(self, node: ast.BoolOp) -> list[tuple[int, int, str]]:
        kept = [one for one in node.values if self.constant(one) is None]
        if len(kept) == len(node.values):
            return [edit for one in node.values for edit in self._edits(one)]
        word = " and " if isinstance(node.op, ast.And) else " or "
        texts = [self.expression(one) for one in kept]
        wrapped = [
            f"({text})" if isinstance(one, ast.BoolOp | ast.IfExp) else text for text, one in zip(texts, kept, strict=True)
        ]
        return [(*self._span(node), word.join(wrapped if len(kept) > 1 else texts))]

    def _call(self, node: ast.Call) -> list[tuple[int, int, str]]:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        edits = self._edits(node.func)
        given: list[ast.expr | ast.keyword] = [*node.args, *node.keywords]
        for place, one in enumerate(given):
            value = one.value if isinstance(one, ast.keyword) else one
            if isinstance(value, ast.Name | ast.Attribute) and ast.unparse(value) in ("ledger", "self.ledger"):
                before = given[place - 1] if place else None
                start = self._span(before)[1] if before is not None else self._span(one)[0]
                edits.append((start, self._span(one)[1], ""))
            elif name in ("isinstance", "issubclass") and place == 1:
                edits += self._kinds_left(value)
            else:
                edits += self._edits(one)
        return edits

    def _kinds_left(self, node: ast.expr) -> list[tuple[int, int, str]]:
        parts = _alternatives(node)
        left = [one for one in parts if not self._never(one)]
        if len(left) == len(parts):
            return self._edits(node)
        return [(*self._span(node), " | ".join(self.expression(one) for one in left))]

    def _never(self, node: ast.expr) -> bool:
        kinds = self._kinds(node)
        return kinds is not None and self.given.decides(kinds)

    def _arguments(self, node: ast.arguments) -> list[tuple[int, int, str]]:
        edits: list[tuple[int, int, str]] = []
        every = [*node.posonlyargs, *node.args, *node.kwonlyargs]
        defaults = [
            *([None] * (len(node.posonlyargs) + len(node.args) - len(node.defaults))),
            *node.defaults,
            *node.kw_defaults,
        ]
        for place, one in enumerate(every):
            default = defaults[place]
            if one.arg == "ledger":
                before = (defaults[place - 1] or every[place - 1]) if place else one
                end = self._span(one if default is None else default)[1]
                edits.append((self._span(before)[1] if place else self._span(one)[0], end, ""))
                continue
            edits += self._edits(one)
            if default is not None:
                edits += self._edits(default)
        for rest in (node.vararg, node.kwarg):
            edits += [] if rest is None else self._edits(rest)
        return edits

    def _annotation(self, node: ast.expr, *, keep: bool = False) -> list[tuple[int, int, str]]:
        """An annotation may name what is not there: then it goes, see `Book.finished`."""
        start, end = self._span(node)
        soft: list[tuple[int, int, str]] = []
        for one in ast.walk(node):
            if isinstance(one, ast.Name):
                soft += self._named(one, soft=True)
        text = self._edited(start, end, soft)
        colon = start if keep else self.module.text.rindex(":", 0, start)
        return [(colon, end, f"{SOFT}{self.module.text[colon:start]}{text}{CLOSE}")]

    def _named(self, node: ast.AST, *, soft: bool = False) -> list[tuple[int, int, str]]:
        """An edit where a name of this project stands; names of other packages are noted."""
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and isinstance(node.ctx, ast.Load):
            place = self.module.imports.get(node.value.id)
            local = any(node.value.id in scope for scope in self.scopes)
            if place is not None and place[1] is None and place[0].startswith(f"{OWN}.") and not local:
                return self._marked(node, resolved(place[0], node.attr), soft)
            return []
        if not isinstance(node, ast.Name) or any(node.id in scope for scope in self.scopes):
            return []
        if node.id in self.module.definitions:
            return self._marked(node, resolved(self.module.name, node.id), soft)
        place = self.module.imports.get(node.id)
        if place is None:
            return []
        if not place[0].startswith(f"{OWN}."):
            self.part.outside.add((node.id, *place))
            return []
        return [] if place[1] is None else self._marked(node, resolved(place[0], place[1]), soft)

    def _marked(self, node: Any, key: Key | tuple[str, str, str | None], soft: bool) -> list[tuple[int, int, str]]:
        if len(key) == 3:
            self.part.outside.add(key)
            return [] if isinstance(node, ast.Name) and node.id == key[0] else [(*self._span(node), key[0])]
        if not soft or not isinstance(node_of(key), ast.ClassDef):
            self.part.hard.add(key)
        return [(*self._span(node), f"{OPEN}{key[0]}:{key[1]}{CLOSE}")]

    def _note(self, node: ast.AST) -> None:
        if isinstance(node, ast.Attribute):
            self.part.words.add(node.attr)

    def _inside(self, node: ast.JoinedStr) -> None:
        """Names inside an f-string, whose places Python 3.11 does not tell."""
        for one in ast.walk(node):
            self._note(one)
            if isinstance(one, ast.Name) and self._named(one):
                self.part.pinned |= {key for key in self.part.hard if key[1] == one.id}
            if isinstance(one, ast.Constant) and isinstance(one.value, str):
                self.part.words.update(re.findall(r"\w+", one.value))

    # -------------------------------------------------------------- what is known

    def constant(self, node: ast.expr) -> bool | None:
        """What a condition always is; None where it depends."""
        text = ast.unparse(node)
        single = _SINGLE.get(self.module.name, {}).get(text)
        if single is not None:
            return single
        if re.search(r"\.ledger\b|\bprobing\b", text) and not isinstance(node, ast.BoolOp):
            return False
        match node:
            case ast.Constant(value=bool() as value):
                return value
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                known = self.constant(operand)
                return None if known is None else not known
            case ast.BoolOp(op=op, values=values):
                known_values = [self.constant(one) for one in values]
                decisive = isinstance(op, ast.Or)
                if decisive in known_values:
                    return decisive
                return None if None in known_values else not decisive
            case ast.Call(func=ast.Name(id="exporting")):
                return False
            case ast.Call(func=ast.Name(id="isinstance" | "issubclass" as name), args=[what, kinds]):
                return self._is(name, what, kinds)
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return self._compared(left, op, right)
            case ast.Attribute():
                found = self.given.values(node)
                if found is not None and all(isinstance(value, bool) for value in found) and len(set(found)) == 1:
                    return bool(found[0])
        return None

    def _is(self, name: str, what: ast.expr, kinds: ast.expr) -> bool | None:
        classes = self._kinds(kinds)
        if classes is None:
            return None
        values = self.given.values(what) if name == "isinstance" else None
        if values is not None:
            answers = {isinstance(value, tuple(classes)) for value in values}
            return answers.pop() if len(answers) == 1 else None
        return False if self.given.decides(classes) else None

    def _compared(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> bool | None:
        if isinstance(op, ast.Is | ast.IsNot) and isinstance(right, ast.Name):
            kinds = self._kinds(right)
            return isinstance(op, ast.IsNot) if kinds is not None and self.given.decides(kinds) else None
        values = self.given.values(left)
        if values is None or not isinstance(right, ast.Constant):
            return None
        compare = _COMPARISONS.get(type(op))
        if compare is None:
            return None
        answers = {bool(compare(value, right.value)) for value in values}
        return answers.pop() if len(answers) == 1 else None

    def _kinds(self, node: ast.expr) -> list[type] | None:
        """The classes that an expression names; None if it names something else."""
        found: list[type] = []
        for one in _alternatives(node):
            if isinstance(one, ast.Name) and any(one.id in scope for scope in self.scopes):
                return None
            value = self._named_value(one)
            several = value if isinstance(value, tuple) else (value,)
            if not all(isinstance(kind, type) for kind in several):
                return None
            found += several
        return found

    def _named_value(self, node: ast.expr) -> Any:
        """What a dotted name stands for in the module; None if it is something else."""
        if isinstance(node, ast.Name):
            return getattr(self.module.runtime, node.id, getattr(builtins, node.id, None))
        return getattr(self._named_value(node.value), node.attr, None) if isinstance(node, ast.Attribute) else None


# ------------------------------------------------------------------------ text


def _moved(line: str, left: int) -> str:
    return line[left:] if line[:left].strip() == "" else line


def _first_line(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(one.lineno for one in decorators)])


def _only_pass(body: Sequence[ast.stmt]) -> bool:
    return all(isinstance(node, ast.Pass) for node in body)


def _alternatives(node: ast.expr) -> list[ast.expr]:
    """Of `A | B` or `(A, B)` the parts."""
    match node:
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return [*_alternatives(left), *_alternatives(right)]
        case ast.Tuple(elts=elts):
            return [one for elt in elts for one in _alternatives(elt)]
    return [node]


def _bound(body: Sequence[ast.stmt]) -> set[str]:
    """Names that a function's body gives a value to."""
    found: set[str] = set()
    for node in (inner for statement in body for inner in ast.walk(statement)):
        match node:
            case ast.Name(id=name, ctx=ast.Store()):
                found.add(name)
            case ast.FunctionDef(name=name):
                found.add(name)
            case ast.arg(arg=name):
                found.add(name)
            case ast.MatchAs(name=str() as name):
                found.add(name)
    return found


def _docstring(text: str, indent: int) -> list[str]:
    """A docstring without examples, and without what counts receipts."""
    space = " " * indent
    lines = inspect.cleandoc(text).split("\n")
    kept: list[str] = []
    skipping: int | None = None
    for line in lines:
        depth = len(line) - len(line.lstrip())
        if skipping is not None and (not line.strip() or depth > skipping):
            continue
        skipping = None
        if re.match(r"\s*(Example:|Class attributes:|ledger: )", line):
            skipping = depth
            continue
        kept.append(line)
    while kept and not kept[-1].strip():
        kept.pop()
    joined = re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).replace("\\", "\\\\")
    if "\n" not in joined:
        return [f'{space}"""{joined}"""']
    return [f"{space}{line}".rstrip() for line in f'"""{joined}\n"""'.split("\n")]
