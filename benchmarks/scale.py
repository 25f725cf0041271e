"""How does training scale: with processes, with what connects them, with rows and with members?

    python benchmarks/scale.py --study postgresql://me@127.0.0.1/searches

Four parts, on the table of adults that ships with the package and on made data:

1. member-steps a second of one and two processes and of one and two actors of a Ray cluster on this machine, each with one
   thread, interleaved; and what a cohort's way to and fro costs.
2. what a shared study costs: the time for which the search waits when members leave, and the time of the thread that writes.
3. time and memory with 1 to 100 times the rows, and with 1 to 64 times the members of a stack, each in a process of its own.
4. a simulation of 1 to 256 workers on the measured costs and scores of a real search: how busy they are, and how much sooner
   one of the best tenth of its recipes is found.
"""

import argparse
import json
import math
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from heapq import heappop, heappush
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import cast

import numpy as np
import polars as pl
import torch
from optuna.trial import create_trial

import titrant
from common import ROOT, circumstances, grid, shown
from titrant import samples
from titrant.clock import Clock
from titrant.data.learnable import read_data
from titrant.recipe import Recipe
from titrant.record import MemberRecord, read_members
from titrant.search.halving import Bracket, Networks, Race, advanced, same
from titrant.search.mixture import PARENTS
from titrant.search.pace import Pace
from titrant.search.shared import SharedStudy
from titrant.search.starts import Plan
from titrant.search.study import PLANNED_LANES, SMALLEST
from titrant.train.cluster import Cluster
from titrant.train.cohort import Cohort, batch_sizes
from titrant.train.kinds import problem_of
from titrant.train.lanes import side_by_side
from titrant.train.member import History, Member
from titrant.train.metrics import METRICS
from titrant.train.problem import Problem
from titrant.train.workers import Executor, Workers

RECIPE = Recipe().replace("model.width", 64).replace("batch.size", 128).replace("stop.epochs", 4).replace("dropout", "off")
MEMBERS, COHORTS = 16, 8
ROWS, TIMES_ROWS, TIMES_MEMBERS = 1000, (1, 3, 10, 30, 100), (1, 4, 16, 64)
GOAL = 0.9
"""R² to reach on 4,000 held-out rows."""
WORKERS = (1, 2, 4, 16, 64, 256)
LASTING = 600.0
"""Seconds of a simulated search."""
_FOREVER = 1e6


# ------------------------------------------------------------- 1: processes


def adults() -> tuple[Problem, torch.Tensor, torch.Tensor]:
    """The table of adults: the task, training rows, validation rows."""
    dataset = read_data(samples.path("adult"), "income", notes=[])
    train, validation = dataset.split.train, dataset.split.validation
    return problem_of(dataset, train, torch.device("cpu"), torch.cat([train, validation])), train, validation


def cohorts(problem: Problem, train: torch.Tensor, held_out: torch.Tensor) -> list[Callable[[], Cohort]]:
    """Some cohorts of equal cost."""
    clock = Clock.of(_FOREVER)
    found: list[Callable[[], Cohort]] = []
    for place in range(COHORTS):
        members = [Member(MEMBERS * place + k, RECIPE, k, "bench", train, held_out) for k in range(MEMBERS)]
        found.append(partial(Cohort, problem, members, METRICS["accuracy"], clock))
    return found


def throughput(repeats: int) -> tuple[list[list[str]], dict[str, float]]:
    """Rows of the table of processes, and milliseconds that a cohort costs on its way, by executor."""
    torch.set_num_threads(1)
    problem, train, validation = adults()
    made = cohorts(problem, train, validation)
    clock = Clock.of(_FOREVER)
    steps = made[0]().steps
    rates: dict[tuple[str, int], list[float]] = {}
    with ExitStack() as ending:
        cluster = ending.enter_context(Cluster("local"))
        makers: dict[str, Callable[[], Executor] | None] = {"processes": None, "actors": cluster.worker}
        groups = {name: ending.enter_context(Workers(2, None, make)) for name, make in makers.items()}
        for workers in groups.values():
            both = [workers.idle.get(timeout=120) for _ in range(2)]
            for worker in both:
                worker.run(partial(advanced, 0, made[0], 1e-9, clock))  # data are sent once
                workers.idle.put(worker)
        for _ in range(repeats):
            for name, workers in groups.items():
                for count in (1, 2):
                    tasks = [partial(advanced, place, make, 1.0, clock) for place, make in enumerate(made)]
                    begun = time.perf_counter()
                    # a single lane would be this process
                    done = _by_one(tasks, workers) if count == 1 else list(side_by_side(tasks, count, None, workers))
                    rate = len(done) * MEMBERS * steps / (time.perf_counter() - begun)
                    rates.setdefault((name, count), []).append(rate)
        ways = {name: _way(workers, made[0], clock) for name, workers in groups.items()}
    rows = []
    for name in groups:
        one, two = rates[name, 1], rates[name, 2]
        ratios = [b / a for a, b in zip(one, two, strict=True)]
        rows.append([name, shown(one, ",.0f"), shown(two, ",.0f"), shown(ratios, ".2f"), f"{1000 * ways[name]:.1f}"])
    return rows, {name: 1000 * seconds for name, seconds in ways.items()}


def _by_one(tasks: Sequence[Callable[[], object]], workers: Workers) -> list[object]:
    worker = workers.idle.get()
    done = [worker.run(task) for task in tasks]
    workers.idle.put(worker)
    return done


def _way(workers: Workers, make: Callable[[], Cohort], clock: Clock) -> float:
    """Seconds for a trained cohort to and fro."""
    _, cohort, _ = advanced(0, make, 0.5, clock)
    worker = workers.idle.get()
    taken = []
    for _ in range(15):
        begun = time.perf_counter()
        worker.run(partial(same, cohort))
        taken.append(time.perf_counter() - begun)
    workers.idle.put(worker)
    return median(taken)


# ------------------------------------------------------------ 2: shared studies


def study_costs(address: str, records: Sequence[MemberRecord]) -> list[str]:
    """What a cohort of members costs the search, and the thread, in milliseconds."""
    shared = SharedStudy(f"{address}#scale {time.time():.0f}", "scale", "maximize", {"rows": "1", "metric": "1", "search": "1"})
    waited = []
    begun = time.perf_counter()
    given = 0
    for turn in range(8):
        start = time.perf_counter()
        for record in islice(cycle(records), MEMBERS):
            named = record.model_copy(update={"number": 1000 * turn + given, "shared": None})
            shared.give(named, create_trial(value=float(record.score_validation or 0)))
            given += 1
        waited.append(time.perf_counter() - start)
    problems = shared.close(600)
    written = (time.perf_counter() - begun) / 8
    assert not problems, problems
    kind = address.partition(":")[0]
    return [kind, f"{1000 * median(waited):.1f}", f"{1000 * written:.0f}"]


# --------------------------------------------------------- 3: rows and members


def made_problem(rows: int) -> tuple[Problem, torch.Tensor, torch.Tensor]:
    """A smooth function of ten numbers, with `rows` rows to learn from and 4,000 held out."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(rows + 4000, 10)).astype(np.float32)
    y = np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] + np.abs(x[:, 3])
    parts = np.array(["train"] * rows + ["validation"] * 3000 + ["test"] * 1000)
    frame = pl.DataFrame({**{f"x{place}": x[:, place] for place in range(10)}, "y": y, "part": parts})
    dataset = read_data(frame, "y", split_column="part", notes=[])
    train, validation = dataset.split.train, dataset.split.validation
    return problem_of(dataset, train, torch.device("cpu"), torch.cat([train, validation])), train, validation


def child(what: str, size: int) -> dict[str, float | None]:
    """One measurement, in a process of its own."""
    torch.set_num_threads(1)
    clock = Clock.of(_FOREVER)
    problem, train, validation = made_problem(ROWS * size if what == "rows" else 10 * ROWS)
    recipe = RECIPE.replace("stop", {"kind": "last", "epochs": 400.0 / (size if what == "rows" else 100)})
    if what == "members":
        members = [Member(k, recipe, k, "bench", train, validation) for k in range(size)]
        cohort = Cohort(problem, members, METRICS["r2"], clock)
        cohort.train(10, clock)
        begun, steps = time.perf_counter(), min(200, cohort.steps - 10)
        cohort.train(10 + steps, clock)
        found: float | None = (time.perf_counter() - begun) / steps
    else:
        cohort = Cohort(problem, [Member(0, recipe, 0, "bench", train, validation)], METRICS["r2"], clock)
        begun, found = time.perf_counter(), None
        for share in np.linspace(0.005, 1, 200):
            cohort.advance(max(1, int(share * cohort.steps)), clock)
            if cohort.histories[0].best >= GOAL:
                found = time.perf_counter() - begun
                break
    return {"seconds": found, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def measured(what: str, sizes: Sequence[int], repeats: int) -> Iterator[tuple[int, list[float], float]]:
    """For each size, seconds and mebibytes."""
    for size in sizes:
        seconds, memory = [], []
        for _ in range(repeats):
            command = [sys.executable, __file__, "--child", what, str(size)]
            answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            memory.append(answer["memory"])
            if answer["seconds"] is not None:
                seconds.append(answer["seconds"])
        yield size, seconds, median(memory)


# ---------------------------------------------------------------- 4: simulation


@dataclass(frozen=True)
class Known:
    """What is known of a recipe: how long its full training takes on one worker, and how good it is; lower is better."""

    recipe: Recipe
    seconds: float
    loss: float


def known_of(records: Sequence[MemberRecord], train: int) -> list[Known]:
    """The recipes of a search whose training was measured."""
    found = []
    for record in records:
        if record.origin != "refit" and record.steps and record.score_validation is not None:
            recipe = Recipe.of(record.recipe)
            found.append(
                Known(recipe, record.seconds / record.steps * len(batch_sizes(recipe, train)), -record.score_validation)
            )
    return found


class Recorded:
    """In place of a cohort: its members are as good as they were in the search, and take as long, but nothing is computed.

    Args:
        members: whose number is their place in `drawn`.
        drawn: what is known of them.
        way: seconds for the way to a worker and back.
    """

    steps = 600

    def __init__(self, members: list[Member], drawn: list[Known], way: float) -> None:
        self.members = members
        self.step, self.spent = 0, 0.0
        self.histories = [History(best=-drawn[one.number].loss, best_loss=drawn[one.number].loss) for one in members]
        self._drawn, self._way = drawn, way

    def advance(self, steps: int, clock: Clock) -> bool:
        """Has trained to a step; `spent` says how long that took."""
        share = (steps - self.step) / self.steps
        self.spent = self._way + share * sum(self._drawn[member.number].seconds for member in self.members)
        self.step = steps
        return True

    def keep(self, places: Sequence[int]) -> None:
        """Lets the others go."""
        self.members, self.histories = [self.members[k] for k in places], [self.histories[k] for k in places]


class Replayed(Bracket):
    """A bracket of the search, with recorded cohorts.

    Args:
        members: whose number is their place in `drawn`.
        drawn: what is known of them.
        way: seconds for the way of a cohort.
    """

    def __init__(self, problem: Problem, members: list[Member], pace: Pace, drawn: list[Known], way: float) -> None:
        self._drawn, self._way = drawn, way
        smallest = SMALLEST if pace.lanes > PLANNED_LANES else 1
        super().__init__(problem, members, METRICS["accuracy"], Clock.of(_FOREVER), pace=pace, smallest=smallest)

    def _maker(self, stack: list[Member]) -> Callable[[], Cohort]:
        return cast("Callable[[], Cohort]", partial(Recorded, stack, self._drawn, self._way))

    def _remember_best(self, cohort: Cohort) -> None:
        """There are no networks."""

    def _leave(self, networks: Networks, state: str) -> None:
        """There are no records."""


@dataclass(frozen=True)
class Simulated:
    """What came of a simulated search: the share of time for which workers are busy, and when the goal was reached."""

    busy: float
    reached: float


def simulate(
    known: Sequence[Known],
    workers: int,
    problem: Problem,
    rows: torch.Tensor,
    draw: random.Random,
    way: float,
    proposing: tuple[float, float],
    lasting: float,
    most: int | None = None,
) -> Simulated:
    """A search's own brackets, drawn from known recipes, on as many workers and by a clock that jumps from event to event.

    Args:
        known: what is drawn from; a drawn recipe is as good as it was measured, whatever its rung.
        workers: how many.
        problem, rows: what the recipes are trained on.
        draw: chooses.
        way: seconds that a cohort needs on its way.
        proposing: seconds for the proposal of a recipe, in which nothing else is begun or taken back: of the first bracket, and
            of later ones.
        lasting: seconds of the search.
        most: brackets; None for as many as fit.
    """
    pace = Pace(workers)
    goal, reached = sorted(one.loss for one in known)[len(known) // 10], math.inf
    drawn: list[Known] = []
    now, brackets = 0.0, 0
    running: list[tuple[float, int, Callable[[], None]]] = []

    def begin() -> Bracket | None:
        nonlocal now, brackets
        judged = sum(len(bracket.standing()) for bracket in race.brackets.values())
        if now > lasting or brackets == most or (race.brackets and brackets == 1 and judged < PARENTS):
            return None
        size = Plan().later if brackets else max(Plan().first, SMALLEST * workers)
        now += proposing[min(brackets, 1)] * size
        brackets += 1
        before = len(drawn)
        drawn.extend(draw.choice(known) for _ in range(size))
        members = [Member(place, drawn[place].recipe, 0, "bench", rows, rows[:1]) for place in range(before, len(drawn))]
        return Replayed(problem, members, pace, drawn, way)

    race = Race(pace, begin, lambda _: None, overlapping=workers > PLANNED_LANES)
    tasks, worked, count = race.tasks(), 0.0, 0
    while True:  # as `titrant.train.lanes.side_by_side` does it
        while len(running) < workers and (task := next(tasks, None)) is not None:
            (number, place), cohort, _ = task()
            ended: Callable[[], None] = partial(race.done, number, place, cohort, True)
            spent = cast("Recorded", cohort).spent
            worked += min(spent, max(0.0, lasting - now)) if most is None else spent
            if cohort.step == cohort.steps and min(history.best_loss for history in cohort.histories) <= goal:
                reached = min(reached, now + spent)
            heappush(running, (now + spent, count, ended))
            count += 1
        if not running or (most is None and now > lasting):
            break
        if race.overlapping and len(running) == workers:
            race.prepare()
        until, _, take = heappop(running)
        now = max(now, until)
        take()
    return Simulated(worked / (workers * (lasting if most is None else now)), reached)


def proposing_seconds(records: Sequence[MemberRecord]) -> tuple[float, float]:
    """Seconds for a proposal by a search's own proposers: in its first bracket, and by their mean after `records`."""
    from titrant.search.study import Study
    from titrant.wanted import region_for

    dataset = read_data(samples.path("adult"), "income", notes=[])
    region = region_for(dataset, None, None, None)

    def study(before: list[MemberRecord]) -> Study:
        with tempfile.TemporaryDirectory() as folder:
            found = Study(
                dataset, region, METRICS["accuracy"], Clock.of(_FOREVER), 0, torch.device("cpu"), Path(folder), lambda *_: None,
                before=before,
            )  # fmt: skip
        found._first = 100
        return found

    def seconds(propose: Callable[[], Sequence[object]]) -> float:
        begun = time.perf_counter()
        count = len(propose())
        return (time.perf_counter() - begun) / count

    return seconds(study([])._first_proposals), seconds(study(list(records))._later_proposals)


# -------------------------------------------------------------------- the page


def page(parts: dict[str, list[str]]) -> str:
    """The Markdown page."""
    lines = ["# How training scales", "", *circumstances(), ""]
    for title, content in parts.items():
        lines += [f"## {title}", "", *content, ""]
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--study", action="append", default=[], help="a database to measure, beside SQLite; may be repeated")
    found.add_argument("--repeats", type=int, default=5, help="of each measurement (default: 5)")
    found.add_argument("--budget", default="300s", help="of the search whose costs are simulated (default: 300s)")
    found.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    found.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "scale.md")
    return found


def main() -> None:
    """Measures part after part; the page is written anew after each."""
    given = parser().parse_args()
    if given.child:
        print(json.dumps(child(given.child[0], int(given.child[1]))))
        return
    parts: dict[str, list[str]] = {}

    def add(title: str, content: list[str]) -> None:
        parts[title] = content
        print("\n".join([title, *content]), flush=True)
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(page(parts), encoding="utf-8")

    rows, ways = throughput(given.repeats)
    names = ["executor", "one, member-steps/s", "two, member-steps/s", "two against one", "a cohort's way to and fro, ms"]
    add("Processes", [
        f"{COHORTS} cohorts of {MEMBERS} networks of width 64, batches of 128, one thread each.", "", *grid(names, rows),
    ])  # fmt: skip

    with tempfile.TemporaryDirectory() as folder:
        run = titrant.fit(samples.path("adult"), "income", budget=given.budget, out=Path(folder) / "run")
        records = [record for record in read_members(run.folder / "members.jsonl") if record.origin != "refit"]
        addresses = [f"sqlite:///{folder}/study.db", *given.study]
        costs = [study_costs(address, records) for address in addresses]
    add("Shared studies", [
        f"A cohort of {MEMBERS} members leaves. The search waits while they are handed over; a thread of its own writes them.",
        "", *grid(["database", "the search waits, ms", "the thread writes, ms"], costs),
    ])  # fmt: skip

    found = list(measured("rows", TIMES_ROWS, given.repeats))
    base = median(found[0][1]) if found[0][1] else None
    add("Rows", [
        f"One network of width 64 until R² {GOAL} on 3,000 held-out rows.", "",
        *grid(["rows", "seconds", "against the fewest", "peak memory, MiB"], [
            [f"{ROWS * size:,}", shown(taken, ".2f") if taken else "not reached",
             f"{median(taken) / base:.1f}" if taken and base else "", f"{memory:,.0f}"] for size, taken, memory in found
        ]),
    ])  # fmt: skip

    found = list(measured("members", TIMES_MEMBERS, given.repeats))
    alone = median(found[0][1])
    add("Members", [
        "A stack of networks of width 64 on 10,000 rows.", "",
        *grid(["members", "ms for a step of all", "a member's step against one alone", "peak memory, MiB"], [
            [str(size), shown([1000 * one for one in taken], ".2f"), f"{median(taken) / size / alone:.2f}", f"{memory:,.0f}"]
            for size, taken, memory in found
        ]),
    ])  # fmt: skip

    problem, train, _ = adults()
    known, draw = known_of(records, len(train)), random.Random(0)
    proposing = proposing_seconds(records)
    table, first = [], None
    for workers in WORKERS:
        replay = partial(simulate, known, workers, problem, train, draw, ways["actors"] / 1000, proposing, LASTING)
        tries = [replay() for _ in range(max(5, 80 // workers))]
        reached = median(one.reached for one in tries)
        first = first or reached
        table.append([str(workers), shown([one.busy for one in tries], ".0%"), f"{reached:.0f}", f"{first / reached:.1f}"])
    add("Many workers, simulated", [
        f"The search's own brackets for {LASTING / 60:.0f} minutes, of recipes drawn from the {len(known)} of a search of "
        f"{given.budget}, with their measured times. A proposal takes {1000 * proposing[0]:.0f} ms in the first bracket and "
        f"{1000 * proposing[1]:.0f} ms later; a member costs in any stack "
        "what it cost in those of the search. The goal is one of the best tenth of the recipes, trained "
        "to its end.", "",
        *grid(["workers", "busy", "seconds to the goal", "sooner by"], table),
    ])  # fmt: skip
    print(f"Written: {given.out}")


if __name__ == "__main__":
    main()
