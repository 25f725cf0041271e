"""From paired differences to intervals, error rates and verdicts.

A study trains two arms again and again: replicate r gives both the same training rows and seeds, and d_r is the gain in score
of one over the other. Two things make the mean of d_r uncertain, and they add up:

    training   rows and seeds: the spread of d_r over the replicates, s² / R
    judging    the rows that judge: all replicates share them, so no number of replicates averages their luck away. Its variance
               is that of the mean difference over bootstrap samples of these rows, the same samples for every arm

Where each replicate is judged by rows of its own, the spread holds both, but replicates overlap; the variance is then
multiplied by 1/R + n_judged / n_trained instead of 1/R (Nadeau & Bengio 2003, "Inference for the generalization error").
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from scipy import stats

Verdict = Literal["helps", "hurts", "equivalent", "no evidence", "never acted"]

LEVEL = 0.05
"""Chance of any false "helps" or "hurts" in a family of comparisons."""


@dataclass(frozen=True)
class Estimate:
    """A mean difference and how sure it is.

    Args:
        mean: of the differences; above zero is a gain.
        error: its standard error; NaN where it cannot be told.
        freedom: degrees of freedom of the error.
        count: replicates.
    """

    mean: float
    error: float
    freedom: float
    count: int

    def interval(self, confidence: float = 1 - LEVEL) -> tuple[float, float]:
        """The ends of the interval that covers the true mean with this confidence; infinite where nothing can be told."""
        if not math.isfinite(self.error):
            return -math.inf, math.inf
        reach = float(stats.t.ppf((1 + confidence) / 2, self.freedom)) * self.error
        return self.mean - reach, self.mean + reach

    @property
    def p(self) -> float:
        """Chance of a mean at least so far from zero if there were no difference; 1 where nothing can be told."""
        if not math.isfinite(self.error):
            return 1.0
        if self.error == 0:
            return 1.0 if self.mean == 0 else 0.0
        return float(2 * stats.t.sf(abs(self.mean) / self.error, self.freedom))


def paired(differences: Sequence[float], resampled: Sequence[float] | None = None, overlap: float = 0.0) -> Estimate:
    """The mean of paired differences, with all that makes it uncertain.

    Args:
        differences: one for each replicate [R].
        resampled: the mean difference on each bootstrap sample of the judging rows [B], if all replicates share these rows.
        overlap: judging rows for each training row, if every replicate has judging rows of its own.

    Example:
        >>> found = paired([0.02, 0.03, 0.01, 0.02])
        >>> round(found.mean, 3), [round(end, 3) for end in found.interval()]
        (0.02, [0.007, 0.033])
    """
    values = np.asarray(differences, np.float64)
    count = len(values)
    mean = float(values.mean()) if count else math.nan
    if count < 2:
        return Estimate(mean, math.nan, math.nan, count)
    training = float(values.var(ddof=1)) * (1 / count + overlap)
    judging = 0.0 if resampled is None else float(np.var(np.asarray(resampled, np.float64), ddof=1))
    total = training + judging
    if total == 0:
        return Estimate(mean, 0.0, count - 1, count)
    samples = 1 if resampled is None else len(resampled)
    # Welch and Satterthwaite: the freedom of a sum of variances that were estimated apart.
    shares = ((training / total) ** 2 / (count - 1), (judging / total) ** 2 / max(1, samples - 1))
    freedom = 1 / sum(shares)
    return Estimate(mean, math.sqrt(total), freedom, count)


def holm(chances: Sequence[float]) -> list[float]:
    """Chances of a family of comparisons, adjusted so that the smallest of all is compared with the level as it stands.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(chances)
    adjusted = [0.0] * len(chances)
    highest = 0.0
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, chances[index] * (len(chances) - place)))
        adjusted[index] = highest
    return adjusted


def spent(share: float, level: float = LEVEL) -> float:
    """The level that may have been spent when a study has reached a share of its replicates: little at first.

    Source: Lan & DeMets 1983, the function of O'Brien and Fleming's kind, 2 - 2Φ(z / √share).

    Example:
        >>> round(spent(0.25), 5), round(spent(0.5), 4), round(spent(1.0), 4)
        (9e-05, 0.0056, 0.05)
    """
    return float(2 * stats.norm.sf(stats.norm.isf(level / 2) / math.sqrt(share)))


def levels(shares: Sequence[float], level: float = LEVEL) -> list[float]:
    """What each look at a study may spend of the level: the looks together never spend more than all of it.

    Departure from Lan & DeMets: looks are added up as if they were independent of one another, which costs a little power and
    needs no numerical integration.

    Example:
        >>> [round(part, 4) for part in levels([0.5, 1.0])]
        [0.0056, 0.0444]
    """
    marks = [0.0, *(spent(share, level) for share in shares)]
    return [after - before for before, after in pairwise(marks)]


def verdict(estimate: Estimate, adjusted: float, level: float, smallest: float) -> Verdict:
    """What may be said of a difference.

    Args:
        estimate: of the difference.
        adjusted: its chance, adjusted for its family.
        level: what this look may spend.
        smallest: the smallest difference that would matter to anybody. An interval of 90 % inside it shows equivalence (two
            one-sided tests; Schuirmann 1987).
    """
    if adjusted <= level and estimate.mean != 0:
        return "helps" if estimate.mean > 0 else "hurts"
    low, high = estimate.interval(1 - 2 * LEVEL)
    return "equivalent" if -smallest < low and high < smallest else "no evidence"
