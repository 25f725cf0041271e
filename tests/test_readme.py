"""The README is true: its Python runs, its YAML is accepted, its commands exist, its table of tricks is complete."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from titrant.cli import app
from titrant.recipe import Recipe, kinds
from titrant.search.region import Region

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)


def test_python_blocks_run_one_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "readme"}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    assert (tmp_path / "penguin-run" / "report.html").is_file()
    assert names["run"].recipe.dropout.p in {0.1, 0.3, 0.5}


def test_yaml_blocks_are_a_recipe_and_a_space_for_it() -> None:
    recipe, space = (yaml.safe_load(block) for block in blocks("yaml"))
    region = Region(Recipe.of(recipe), space, only=True)
    assert region.base.dropout.kind == "bernoulli"


def test_commands_and_their_options_exist() -> None:
    root = typer.main.get_command(app)
    lines = [line for block in blocks("console") for line in block.splitlines() if line.startswith("$ titrant ")]
    assert len(lines) >= 5
    for line in lines:
        words = shlex.split(line, comments=True)[2:]
        command: Any = root
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        known = {option for parameter in command.params for option in parameter.opts}
        assert command is not root, line
        assert {word for word in words if word.startswith("--")} <= known, line


def test_table_of_tricks_names_every_slot_and_kind() -> None:
    rows = dict(re.findall(r"^\| `([a-z0-9_.]+)` \| [^|]+ \| ([^|]+) \|$", TEXT, flags=re.MULTILINE))
    expected = {path: [kind.name() for kind in found] for path, found in kinds().items()}
    assert {path: row.removeprefix("off, ").split(", ") for path, row in rows.items()} == expected


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target
