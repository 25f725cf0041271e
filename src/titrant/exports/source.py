"""One file from many: a program of this project with all that it uses, for given recipes, as text that needs PyTorch alone.

    definitions that are reached → for each, what is alive of it → their text, names made unique → in order, one file

Of a class those methods are kept whose name occurs somewhere, and of a group of slots those that a recipe fills.
"""

import ast
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from titrant.exports.alive import ALONE, CLOSE, OPEN, OWN, SOFT, Given, Key, Part, Reader, module_of, node_of, value_of
from titrant.recipe import Recipe
from titrant.tricks.base import Off, Trick

_UNSAID = ("__getstate__", "__setstate__", "__hash__")


class Book:
    """All definitions that a script needs.

    Args:
        given: what is known when it is made.
    """

    def __init__(self, given: Given) -> None:
        self.given = given
        self._parts: dict[tuple[Key, str], Part] = {}  # of a definition, or of a member of a class
        self.reached: dict[Key, None] = {}
        self.words: set[str] = set()

    # --------------------------------------------------------------- reaching

    def reach(self, roots: Iterable[Key]) -> None:
        """Collects what the roots need, until nothing new is needed."""
        waiting = list(roots)
        known = -1
        while waiting or known != len(self.words):
            known = len(self.words)
            while waiting:
                key = waiting.pop()
                if key not in self.reached:
                    self.reached[key] = None
                    waiting += self._needs(key)
            for key in list(self.reached):
                waiting += [one for one in self._needs(key) if one not in self.reached]

    def _needs(self, key: Key) -> list[Key]:
        needed: list[Key] = []
        for part in self.parts(key):
            self.words |= part.words
            needed += part.hard
        return needed

    def parts(self, key: Key) -> list[Part]:
        """A definition as it now is: one part, or those of a class, its head first."""
        node = node_of(key)
        if not isinstance(node, ast.ClassDef):
            return [self._part(key, "", lambda reader: self._lone(reader, key, node))]
        value = value_of(key)
        if isinstance(value, type) and issubclass(value, BaseModel) and not issubclass(value, Trick):
            return [self._group(key, value)]
        found = [self._part(key, "", lambda reader: self._class_head(reader, node, value))]
        for place, member in enumerate(node.body):
            if place == 0 if _is_text(member) else self._wanted(member, value):
                found.append(self._part(key, str(place), lambda reader, one=member: self._member(reader, one, value)))
        return found

    def _part(self, key: Key, member: str, write: Any) -> Part:
        if (key, member) not in self._parts:
            reader = Reader(module_of(key[0]), self.given)
            reader.part.text = "\n".join(write(reader) or [])
            self._parts[key, member] = reader.part
        return self._parts[key, member]

    def _lone(self, reader: Reader, key: Key, node: ast.stmt) -> list[str] | None:
        value = value_of(key)
        if isinstance(value, list) and all(isinstance(one, str) for one in value) and value and "augment" in ast.unparse(node):
            acting = [one for one in value if any(not isinstance(getattr(r.augment, one), Off) for r in self.given.recipes)]
            return [f"{key[1]}: list[str] = {acting!r}"]
        lines = reader.statement(node)
        if isinstance(node, ast.FunctionDef) and lines is not None:
            return [line.replace(f"def {key[1]}(", f"def {OPEN}{key[0]}:{key[1]}{CLOSE}(", 1) for line in lines]
        return lines

    def _class_head(self, reader: Reader, node: ast.ClassDef, value: Any) -> list[str]:
        trick = isinstance(value, type) and issubclass(value, Trick)
        bases = [reader.expression(base) for base in node.bases if ast.unparse(base) not in ("BaseModel",)]
        lines = [f"@{reader.expression(one)}" for one in node.decorator_list]
        if trick:
            reader.part.outside.add(("dataclass", "dataclasses", "dataclass"))
            lines.append("@dataclass(frozen=True)")
        return [
            *lines,
            f"class {OPEN}{reader.module.name}:{node.name}{CLOSE}{'(' + ', '.join(bases) + ')' if bases else ''}:",
        ]

    def _wanted(self, member: ast.stmt, value: Any) -> bool:
        """Whether a script needs a member of a class."""
        trick = isinstance(value, type) and issubclass(value, Trick)
        match member:
            case ast.FunctionDef(name=name):
                if name.startswith("__"):
                    return name not in _UNSAID
                return name in self.words or name == "forward"
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=default):
                if trick and name in ("kind", "unit", "searched", "reads", "nuisances", "model_config"):
                    return False
                if "ClassVar" in ast.unparse(annotation):
                    return default is not None and name in self.words
                return True
            case ast.Assign(targets=[ast.Name(id=name)]):
                return name in self.words and name != "model_config"
        return not isinstance(member, ast.Pass)

    def _member(self, reader: Reader, member: ast.stmt, value: Any) -> list[str] | None:
        if isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
            annotation = ast.unparse(member.annotation)
            if "ClassVar" in annotation:
                assert member.value is not None
                return [f"    {member.target.id} = {reader.expression(member.value)}"]
            if isinstance(value, type) and issubclass(value, Trick):
                found = value.model_fields[member.target.id].annotation
                kind = found.__name__ if isinstance(found, type) else "str" if "Literal" in str(found) else str(found)
                default = "" if member.value is None else f" = {reader.expression(member.value)}"
                return [f"    {member.target.id}: {kind}{default}"]
        return reader.statement(member)

    def _group(self, key: Key, value: type[BaseModel]) -> Part:
        """Slots that belong together, those alone that some recipe fills or the script asks for."""
        node = node_of(key)
        assert isinstance(node, ast.ClassDef)
        reader = Reader(module_of(key[0]), self.given)
        reader.part.outside |= {("dataclass", "dataclasses", "dataclass"), ("Any", "typing", "Any")}
        reader.part.hard.add((ALONE, "Off"))
        title = (ast.get_docstring(node) or "").split("\n\n")[0].replace("\n", " ")
        lines = ["@dataclass(frozen=True)", f"class {OPEN}{key[0]}:{key[1]}{CLOSE}:", f'    """{title}"""', ""]
        names = self.slots(value)
        lines += [f"    {name}: Any = {OPEN}{ALONE}:Off{CLOSE}()" for name in names]
        if "model_fields" in self.words and value.__name__ == "Augment":
            lines += ["", f"    model_fields = {tuple(names)!r}"]
        if "model_copy" in self.words:
            reader.part.outside.add(("replace", "dataclasses", "replace"))
            lines += ["", "    def model_copy(self, update: dict[str, Any]) -> Any:", '        """With other slots."""',
                      "        return replace(self, **update)"]  # fmt: skip
        for member in node.body:
            if isinstance(member, ast.FunctionDef) and member.name in ("at",) and member.name in self.words:
                lines += ["", *(reader.statement(member) or [])]
        reader.part.text = "\n".join(lines)
        return reader.part

    def slots(self, group: type[BaseModel]) -> list[str]:
        """Of a group's slots those that some recipe fills, or that the script names."""
        held = [one for recipe in self.given.recipes for one in groups(recipe) if type(one) is group]
        return [
            name for name in group.model_fields
            if name in self.words or any(not isinstance(getattr(one, name), Off) for one in held)
        ]  # fmt: skip

    def written(self, value: Any) -> str:
        """A recipe, a slot or a dose as Python."""
        if isinstance(value, Off):
            return f"{OPEN}{ALONE}:Off{CLOSE}()"
        if isinstance(value, Trick):
            key = (type(value).__module__, type(value).__name__)
            return f"{OPEN}{key[0]}:{key[1]}{CLOSE}({', '.join(f'{n}={v!r}' for n, v in value.values().items())})"
        if isinstance(value, BaseModel):
            key = (type(value).__module__, type(value).__name__)
            inner = [
                f"{name}={self.written(getattr(value, name))}"
                for name in self.slots(type(value)) if not isinstance(getattr(value, name), Off)
            ]  # fmt: skip
            if isinstance(value, Recipe):
                return f"{OPEN}{key[0]}:{key[1]}{CLOSE}(\n" + "".join(f"    {one},\n" for one in inner) + ")"
            return f"{OPEN}{key[0]}:{key[1]}{CLOSE}({', '.join(inner)})"
        return repr(value)

    # --------------------------------------------------------------- finishing

    def finished(self, head: str, tail: str) -> str:
        """The script.

        Args:
            head: its docstring.
            tail: what stands below all definitions, with marks.
        """
        order = self._ordered()
        names = self._names()
        sections: list[str] = []
        outside: set[tuple[str, str, str | None]] = set()
        for module, keys in order.items():
            texts = []
            for key in keys:
                parts = self.parts(key)
                for part in parts:
                    outside |= part.outside
                text = _class_text([part.text for part in parts]) if len(parts) > 1 else parts[0].text.strip("\n")
                texts += [] if text in texts else [text]  # `A, B = 0, 1` defines two
            whole = f"# {'-' * 100}\n# {module_of(module).title}"
            apart = True
            for text in texts:
                lone = "\n" not in text
                whole += ("\n" if lone and not apart else "\n\n" if lone else "\n\n\n") + text
                apart = not lone
            sections.append(whole)
        body = "\n\n\n".join([*sections, tail])
        text = _without_marks(body, names)
        used = {one for one in outside if re.search(rf"\b{re.escape(one[0].split('.')[0])}\b", text)}
        return f'"""{head}"""\n\nfrom __future__ import annotations\n\n{_imports(used)}\n\n\n{text}'

    def _ordered(self) -> dict[str, list[Key]]:
        """Modules after those that they import; in each the definitions as they stand there."""
        wanted = {key[0] for key in self.reached}
        order: dict[str, list[Key]] = {}

        def visit(name: str, above: tuple[str, ...] = ()) -> None:
            if name in order or name in above:
                return
            for place, inner in module_of(name).imports.values():
                for one in (place, f"{place}.{inner}"):
                    if one.startswith(f"{OWN}.") and one in sys.modules:
                        visit(one, (*above, name))
            if name in wanted:
                keys = [key for key in self.reached if key[0] == name]
                order[name] = sorted(keys, key=lambda key: node_of(key).lineno)

        visit(ALONE)
        for name in sorted(wanted):
            visit(name)
        return order

    def _names(self) -> dict[Key, str]:
        """A name of its own for each definition."""
        pinned = {key for reached in self.reached for part in self.parts(reached) for key in part.pinned}
        names: dict[Key, str] = {}
        taken: set[str] = set()
        for key in sorted(self.reached, key=lambda key: (key not in pinned, key[0] != ALONE, key)):
            name = key[1]
            if name in taken:
                tail = key[0].rpartition(".")[2]
                name = (
                    f"{key[1]}_{tail}"
                    if key[1].islower() or key[1].startswith("_")
                    else f"{tail.title().replace('_', '')}{key[1]}"
                )
            taken.add(name)
            names[key] = name
        return names


# ------------------------------------------------------------------------ text


def _is_text(node: ast.stmt) -> bool:
    """Whether a statement is a docstring."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _class_text(texts: list[str]) -> str:
    """A class from its head and its members, methods apart from one another by a line."""
    head, *members = (text.strip("\n") for text in texts)
    found = head
    before = ""
    for text in members:
        if not text.strip():
            continue
        method = bool(re.match(r"\s+(@|def |class )", text)) or before == "method"
        found += ("\n\n" if before and (method or before == "docstring") else "\n") + text
        before = "method" if re.match(r"\s+(@|def )", text) else "docstring" if text.strip().startswith('"""') else "field"
    if not before:
        found += "\n    pass"
    return found


def groups(value: BaseModel) -> list[BaseModel]:
    """A recipe and the groups of slots inside it."""
    inner = [getattr(value, name) for name in type(value).model_fields]
    return [
        value,
        *(one for part in inner if isinstance(part, BaseModel) and not isinstance(part, Trick) for one in groups(part)),
    ]


def _without_marks(text: str, names: Mapping[Key, str]) -> str:
    """The text with final names; annotations that name what is not there are left out."""

    def named(found: re.Match[str]) -> str:
        return names.get((found[1], found[2]), "\x04")

    text = re.sub(rf"{OPEN}([\w.]+):(\w+){CLOSE}", named, text)

    def annotated(found: re.Match[str]) -> str:
        if "\x04" not in found[1]:
            return found[1]
        parts = [part.strip() for part in found[1].lstrip(": ").split(" | ")]
        left = [part for part in parts if "\x04" not in part and part != "None"]
        return (
            (": " if found[1].startswith(":") else "") + " | ".join(left)
            if left
            else ("" if found[1].startswith(":") else "Any")
        )

    text = re.sub(rf"{SOFT}([^{CLOSE}]*){CLOSE}", annotated, text)
    text = re.sub(rf"\b{OWN}(?:\.\w+)*\.(\w+)", r"\1", text)  # in comments
    text = re.sub(r"  # (type: ignore|noqa|fmt: skip)[^\n]*", "", text)
    text = re.sub(r" -> [\"']?\w*\x04\w*[^:\n]*:", ":", text).replace("\x04", "Any")
    return re.sub(r"\n{4,}", "\n\n\n", re.sub(r"[ \t]+\n", "\n", text)).strip("\n") + "\n"


def _imports(outside: Iterable[tuple[str, str, str | None]]) -> str:
    """Import lines, those of Python first."""
    plain, parts = set(), dict[str, set[str]]()
    for used, module, name in outside:
        if name is None and "." not in module:
            plain.add(f"import {module}" if used == module else f"import {module} as {used}")
        elif name is None:
            package, _, last = module.rpartition(".")
            parts.setdefault(package, set()).add(last if used in (last, module) else f"{last} as {used}")
        else:
            parts.setdefault(module, set()).add(name if used == name else f"{name} as {used}")
    lines = [*plain, *(f"from {module} import {', '.join(sorted(found))}" for module, found in parts.items())]
    ours = [line for line in lines if not re.match(r"(import|from) torch", line)]
    return "\n".join([*sorted(ours, key=_import_order), "", *sorted(set(lines) - set(ours), key=_import_order)])


def _import_order(line: str) -> tuple[bool, str]:
    return line.startswith("from"), line
