"""Divides rows into train, validation and test, and into folds.

Rows at random are taken by systematic sampling: sorted by the target (ties in random order), every n-th row from a random start
(Cochran, *Sampling Techniques*, 1977, chapter 8). Unlike scikit-learn's `StratifiedShuffleSplit` this stratifies classes of any
size, regression targets, and groups of rows in the same few lines, and a class with two rows always keeps one in train.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold
from torch import Tensor

from titrant.errors import DataError
from titrant.texts import say

TRAIN, VALIDATION, TEST = 0, 1, 2
SHARE = 0.2  # of all rows for test, and of the rest for validation: 64 / 16 / 20 %
MOST = 20_000  # rows enough to estimate a score to about half a percent
FEWEST = 8  # development rows
STRETCHES = 24  # of time, which folds hold out as a whole

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Positions of rows, int64 and ascending; `words` says how they were divided."""

    train: Tensor
    validation: Tensor
    test: Tensor
    words: str

    @property
    def development(self) -> Tensor:
        """All rows outside test."""
        return torch.cat([self.train, self.validation]).sort().values


def divide(
    key: Floats,
    *,
    labels: bool,
    given: Integers | None = None,
    groups: Integers | None = None,
    time: Floats | None = None,
    seed: int = 0,
    hold_out: bool = True,
) -> Split:
    """Divides N rows; what is not `given` is drawn from train.

    Args:
        key: [N] the target as numbers: values, or any numbering of classes. Parts get like shares of small and large keys.
        labels: the keys number classes. The only row of a class is never drawn, so that it stays in train.
        given: [N] 0 train, 1 validation, 2 test, where the person has decided.
        groups: [N] rows of equal number never stand in different parts of those that are drawn.
        time: [N] then the newest rows are test, the newest of the rest validation.
        seed: of the random numbers.
        hold_out: False draws no test rows.

    Raises:
        DataError: there are too few rows, or too few groups, to divide.

    Example:
        >>> split = divide(np.array([0.0, 1.0] * 50), labels=True)
        >>> len(split.train), len(split.validation), len(split.test)
        (64, 16, 20)
    """
    part = np.zeros(len(key), np.int64) if given is None else given.copy()
    generator = np.random.default_rng(seed)
    drawn = []
    for number in (TEST, VALIDATION) if hold_out else (VALIDATION,):
        if not (part == number).any():
            rows = np.flatnonzero(part == TRAIN)
            _check_enough(len(rows), groups, rows)
            share = min(SHARE, MOST / max(1, len(rows)))
            part[rows[_chosen(key, labels, groups, time, rows, share, generator)]] = number
            drawn.append(number)
    if not (part == TRAIN).any():
        raise DataError(say("No row is left to train on. Mark rows as train, or give more rows."))
    train, validation, test = (torch.from_numpy(np.flatnonzero(part == number)) for number in (TRAIN, VALIDATION, TEST))
    if len(train) + len(validation) < FEWEST:
        raise _too_few(len(train) + len(validation))
    return Split(train, validation, test, _words(drawn, groups is not None, time is not None, len(test) > 0))


def _check_enough(rows: int, groups: Integers | None, chosen: Integers) -> None:
    if rows < FEWEST:
        raise _too_few(rows)
    if groups is not None and (count := len(np.unique(groups[chosen]))) < 2:
        raise DataError(
            say(
                "There are {count} groups to draw from, too few: groups never straddle parts, so each part needs one.",
                count=count,
            )
        )


def _too_few(rows: int) -> DataError:
    return DataError(
        say(
            "There are {rows} rows to learn from, too few to divide into train and validation. At least {fewest} are needed.",
            rows=rows,
            fewest=FEWEST,
        )
    )


def _chosen(
    key: Floats,
    labels: bool,
    groups: Integers | None,
    time: Floats | None,
    rows: Integers,
    share: float,
    generator: np.random.Generator,
) -> NDArray[np.bool_]:
    """Which of `rows` go to the part that is drawn."""
    if time is not None:
        return _newest(time[rows], share)
    if groups is not None:
        _, member, sizes = np.unique(groups[rows], return_inverse=True, return_counts=True)
        means = np.bincount(member, weights=key[rows]) / sizes
        return _systematic(means, 2 * sizes <= len(rows), share, generator)[member]  # what holds most rows belongs to train
    _, place, counts = np.unique(key[rows], return_inverse=True, return_counts=True)
    return _systematic(key[rows], counts[place] > (1 if labels else 0), share, generator)


def _newest(time: Floats, share: float) -> NDArray[np.bool_]:
    """The newest rows; rows of equal time stay together unless they are so many that the part would double."""
    order = np.argsort(time, kind="stable")
    wanted = max(1, round(share * len(time)))
    first = len(time) - wanted
    tied = int(np.searchsorted(time[order], time[order[first]]))
    newest = np.zeros(len(time), np.bool_)
    newest[order[tied if len(time) - tied <= 2 * wanted else first :]] = True
    return newest


def _systematic(key: Floats, eligible: NDArray[np.bool_], share: float, generator: np.random.Generator) -> NDArray[np.bool_]:
    """About `share` of the eligible units (rows or groups), at least one, spread evenly over the sorted keys."""
    units = np.flatnonzero(eligible if eligible.any() else ~eligible)
    order = units[np.lexsort((generator.random(len(units)), key[units]))]
    steps = np.floor(np.arange(len(order) + 1) * share + generator.random())
    picked = order[np.diff(steps) > 0]
    chosen = np.zeros(len(key), np.bool_)
    chosen[picked if len(picked) else generator.choice(order, 1)] = True
    return chosen


def _words(drawn: list[int], grouped: bool, ordered: bool, tested: bool) -> str:
    if ordered:
        how = say("by time, the newest rows last")
    elif grouped:
        how = say("at random by groups, which never straddle parts")
    else:
        how = say("at random, with like shares of each class or range of the target")
    match drawn:
        case [0, 1, 2] | [2, 1]:
            return say("Train, validation and test rows were divided {how}.", how=how)
        case [1] if not tested:
            return say("Train and validation rows were divided {how}; no rows were set aside for a test.", how=how)
        case [1]:
            return say("Test rows were given; train and validation rows were divided {how}.", how=how)
        case [2]:
            return say("Validation rows were given; test rows were drawn from the rest {how}.", how=how)
        case _:
            return say("Train, validation and test rows were given.")


def folds(indices: Tensor, strata: Tensor | None, groups: Tensor | None, k: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Divides rows into k folds for refitting and cross-validation.

    Args:
        indices: int64 [n] positions of the rows to divide.
        strata: [N] the target of all rows; class positions, or values of a regression target, which are cut into ten ranges.
        groups: [N] the groups of all rows, or stretches of time; rows of a group are held out together.
        k: number of folds, from 2.
        seed: of the random numbers.

    Returns:
        k pairs (train, held_out) of int64 positions, taken from `indices`; each row is held out once.

    Raises:
        DataError: there are fewer rows, or fewer groups, than folds.

    Example:
        >>> pairs = folds(torch.arange(10, 16), None, None, k=3, seed=0)
        >>> sorted(row for _, held_out in pairs for row in held_out.tolist())
        [10, 11, 12, 13, 14, 15]
    """
    rows = indices.numpy()
    group = None if groups is None else groups.numpy()[rows]
    units = len(rows) if group is None else len(np.unique(group))
    if not 2 <= k <= units:
        raise DataError(say("{units} rows or groups cannot be divided into {k} folds.", units=units, k=k))
    stratum = None if strata is None else _strata(strata.numpy()[rows])
    if stratum is not None and np.unique(stratum, return_counts=True)[1].max() < k:
        stratum = None  # no class has enough rows to stand in each fold
    splitter: KFold | StratifiedKFold | GroupKFold | StratifiedGroupKFold
    if group is not None:
        splitter = (GroupKFold if stratum is None else StratifiedGroupKFold)(k, shuffle=True, random_state=seed)
    else:
        splitter = (KFold if stratum is None else StratifiedKFold)(k, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)  # rare classes cannot stand in each fold
        pairs = list(splitter.split(rows, stratum, group))
    return [(indices[torch.from_numpy(train)], indices[torch.from_numpy(held)]) for train, held in pairs]


def _strata(target: NDArray[np.generic]) -> Integers:
    if np.issubdtype(target.dtype, np.floating):
        rank = np.empty(len(target), np.int64)
        rank[np.argsort(target, kind="stable")] = np.arange(len(target))
        return rank * 10 // max(1, len(target))
    return target.astype(np.int64)
