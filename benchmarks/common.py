"""What the benchmarks share: the tables with their targets, a description of the machine, and how a page is laid out.

The tables are not distributed with the project. They are Parquet files `NAME.parquet` in one folder; `split`, where a table has
such a column, is its official division into train and test.
"""

import argparse
import os
import platform
import shlex
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from shutil import which
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT.parent / "shared" / "data" / "tables"
SPLIT = "split"


@dataclass(frozen=True)
class Table:
    """One table: the column to predict, what that column is, and what a reader of its score should know."""

    target: str
    classes: bool
    note: str = ""


def _classes(target: str, note: str = "") -> Table:
    return Table(target, True, note)


def _values(target: str, note: str = "") -> Table:
    return Table(target, False, note)


TABLES = {
    "abalone": _values("rings"),
    "adult": _classes("income"),
    "air_quality_co": _values("CO(GT)"),
    "auto_mpg": _values("class"),
    "bank_churners": _classes("churn"),
    "bank_marketing": _classes(
        "deposit",
        "`duration` is kept, although it is known only after the call: both sides see it, so the scores flatter both.",
    ),
    "banknote": _classes("target"),
    "car": _classes("target"),
    "churn_mlc": _classes("churn", "Simulated data."),
    "cpu_act": _values("target"),
    "credit_g": _classes("class"),
    "diamonds": _values("price"),
    "dna": _classes("Class"),
    "energy_efficiency": _values("heating_load"),
    "house_16H": _values("target"),
    "hypothyroid": _classes("Class"),
    "insurance": _values("charge"),
    "ionosphere": _classes("Class"),
    "islr_wage": _values("wage"),
    "kddcup99_10pct": _classes("label", "70 % of the rows repeat another row."),
    "letter": _classes("lettr"),
    "magic_telescope": _classes("Class"),
    "mammography": _classes("target"),
    "metro_traffic": _values("traffic_volume"),
    "mushroom": _classes("target"),
    "naval": _values("y"),
    "nursery": _classes("target"),
    "nycflights13": _values("arr_delay"),
    "obesity": _classes("NObeyesdad", "77 % of the rows were synthesised (SMOTE) by the table's authors."),
    "pendigits": _classes("target"),
    "penguins": _classes("species"),
    "pima_diabetes": _classes("diabetes"),
    "protein": _values("y"),
    "satimage": _classes("classes"),
    "seoul_bike": _values("bike_count", "Rows are divided at random, so hours of one day stand on both sides."),
    "shuttle": _classes("Class"),
    "soybean": _classes("Class"),
    "tf_kin40k": _values("y"),
    "titanic": _classes("Survived"),
    "wine_quality": _values("quality", "Many rows repeat another row."),
    "yacht": _values("resistance"),
}


def chosen(names: str) -> list[str]:
    """Reads a comma-separated list of tables; `all` names every one.

    Raises:
        argparse.ArgumentTypeError: a table is unknown.
    """
    found = list(TABLES) if names == "all" else [name.strip() for name in names.split(",")]
    for name in found:
        if name not in TABLES:
            raise argparse.ArgumentTypeError(f"there is no table {name!r}; choose of {', '.join(TABLES)}")
    return found


def numbers(text: str) -> list[int]:
    """Reads a comma-separated list of whole numbers.

    Raises:
        argparse.ArgumentTypeError: something else stands in it.
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no comma-separated list of whole numbers") from None


def path_of(folder: Path, name: str) -> Path:
    """The file of a table; ends the program with a message if it is not there."""
    file = folder / f"{name}.parquet"
    if not file.is_file():
        sys.exit(f"There is no file {file}. Name the folder of the tables with --data.")
    return file


def titrant() -> str:
    """The command as installed beside this Python, so that no other installation is measured."""
    return str(Path(sys.executable).parent / "titrant")


def complaint(stderr: str) -> str:
    """The last line of what a failed command said: its message, or the end of its traceback."""
    return (stderr.strip().splitlines() or ["it said nothing"])[-1]


def shown(values: list[float], form: str = ".4g") -> str:
    """The median, and the ends where there is more than one value."""
    if not values:
        return "none"
    middle = format(median(values), form)
    return middle if len(values) == 1 else f"{middle} ({format(min(values), form)}–{format(max(values), form)})"


def grid(names: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table."""
    return ["| " + " | ".join(names) + " |", "|---" * len(names) + "|", *("| " + " | ".join(row) + " |" for row in rows)]


def circumstances() -> list[str]:
    """Lines of Markdown that say what made a result: the command, the machine, the versions."""
    script = Path(sys.argv[0]).resolve()
    named = script.relative_to(ROOT) if script.is_relative_to(ROOT) else script.name
    command = shlex.join(["python", str(named), *sys.argv[1:]])
    return [
        f"- Command: `{command}`",
        f"- Machine: {_machine()}",
        f"- Versions: {_versions()}",
    ]


def made_with() -> str:
    """What makes a run, in a line: the machine, the versions, and the commit where this is a checkout."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    told = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() if which("git") else ""
    return f"{_machine()}; {_versions()}" + (f"; commit {told}" if told else "")


def _machine() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    return f"{_processor()}, {cores} cores, {_memory()}, {platform.system()}; OMP_NUM_THREADS {threads}"


def _versions() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("titrant", "torch", "scikit-learn", "numpy", "polars"))
    return f"Python {platform.python_version()}, {packages}"


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} ({platform.machine()})" if names else platform.machine()


def _memory() -> str:
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB memory"
