"""Studies for the eye: forest plots, dose-response curves, sentences, tables in a terminal, the text for a methods section."""

from collections.abc import Sequence
from html import escape
from typing import Any

from titrant.evidence.records import Ablation, Cure, Difference, Effect, Remedy, Response
from titrant.report.charts import Figure, figure
from titrant.report.words import dose, duration, metric_name, number
from titrant.texts import say

_COLOURS = {
    "helps": "var(--green)",
    "hurts": "var(--vermilion)",
    "equivalent": "var(--grey)",
    "no evidence": "var(--blue)",
    "never acted": "var(--ochre)",
}


def forest(study: Ablation) -> Figure:
    """What each trick is worth, with intervals, the largest at the top; the smallest effect that matters as a band."""
    traces: list[dict[str, Any]] = []
    order = ranked(study)
    for verdict, colour in _COLOURS.items():
        own = [effect for effect in order if effect.verdict == verdict]
        if own:
            traces.append(_points([(one.trick, one.without) for one in own], colour, "square", verdict_words(verdict)))
    alone = [(one.trick, one.added) for one in order if one.added is not None]
    if alone:
        traces.append(_points(alone, "var(--purple)", "circle-open", say("added to the plain baseline")))
    chart = figure(traces, say("gain in {metric}, equal time", metric=metric_name(study.metric)), "", legend=True)
    names = [escape(one.trick) for one in reversed(order)]
    chart["layout"]["yaxis"] |= {"type": "category", "categoryorder": "array", "categoryarray": names}
    band = {"type": "rect", "xref": "x", "yref": "paper", "y0": 0, "y1": 1, "line": {"width": 0}, "opacity": 0.12}
    zero = {"type": "line", "xref": "x", "yref": "paper", "y0": 0, "y1": 1, "x0": 0, "x1": 0}
    chart["layout"]["shapes"] = [
        band | {"x0": -study.smallest, "x1": study.smallest, "fillcolor": "var(--grey)"},
        zero | {"line": {"color": "var(--ink)", "width": 1}},
    ]
    return chart


def arm_curves(study: Ablation) -> Figure | None:
    """Validation loss of every arm against epochs, the recipe and the baseline before the others; None without curves."""
    shown = [arm for arm in study.arms if any(point.loss_validation is not None for point in arm.curve)]
    if not shown:
        return None
    colours = {"recipe": ("var(--green)", 3), "baseline": ("var(--vermilion)", 3)}
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": escape(arm.name),
            "x": [point.epoch for point in arm.curve],
            "y": [point.loss_validation for point in arm.curve],
            "line": dict(zip(("color", "width"), colours.get(arm.name, ("var(--grey)", 1)), strict=True)),
            "hovertemplate": "%{x}: %{y:.4g}<extra>" + escape(arm.name) + "</extra>",
            "showlegend": arm.name in colours,
        }
        for arm in sorted(shown, key=lambda arm: arm.name in colours)
    ]
    return figure(traces, say("epoch"), say("validation loss"), legend=True)


def response_curve(study: Response) -> Figure:
    """The score at each level over the reference, with intervals."""
    levels = study.levels
    numeric = all(not isinstance(level.value, str) for level in levels)
    log = numeric and study.log
    xs: list[Any] = (
        [level.value for level in levels] if numeric and not log else [escape(_word(level.value)) for level in levels]
    )
    curve = {
        "type": "scatter",
        "mode": "lines+markers" if numeric else "markers",
        "x": xs,
        "y": [level.gain.mean for level in levels],
        "error_y": _bars([level.gain for level in levels]) | {"color": "var(--blue)"},
        "text": [_marked(level.off, level.here) for level in levels],
        "hovertemplate": "%{x}: %{y:.4g} %{text}<extra></extra>",
        "line": {"color": "var(--blue)", "width": 1.5},
        "marker": {
            "color": ["var(--vermilion)" if level.off else "var(--green)" if level.here else "var(--blue)" for level in levels],
            "size": 9,
            "symbol": ["diamond" if level.here else "circle" for level in levels],
        },
    }
    name = f"{study.dose} ({study.unit})" if study.unit else study.dose
    gain = say("gain in {metric} over {reference}", metric=metric_name(study.metric), reference=_word(study.reference))
    chart = figure([curve], name, gain)
    if not numeric or log:
        chart["layout"]["xaxis"]["type"] = "category"
    return chart


def _points(found: Sequence[tuple[str, Difference]], colour: str, symbol: str, name: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": escape(name),
        "x": [gain.mean for _, gain in found],
        "y": [escape(trick) for trick, _ in found],
        "error_x": _bars([gain for _, gain in found]) | {"color": colour},
        "hovertemplate": "%{y}: %{x:.4g}<extra>" + escape(name) + "</extra>",
        "marker": {"color": colour, "symbol": symbol, "size": 9},
    }


def _bars(gains: Sequence[Difference]) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [0.0 if gain.high is None else gain.high - gain.mean for gain in gains],
        "arrayminus": [0.0 if gain.low is None else gain.mean - gain.low for gain in gains],
        "thickness": 1.5,
        "width": 4,
    }


def ranked(study: Ablation) -> list[Effect]:
    """Effects from the largest gain to the largest loss."""
    return sorted(study.effects, key=lambda effect: -effect.without.mean)


def verdict_words(verdict: str) -> str:
    """A verdict as a person reads it."""
    return {
        "helps": say("helps"),
        "hurts": say("hurts"),
        "equivalent": say("makes no difference that matters"),
        "no evidence": say("no evidence"),
        "never acted": say("never acted"),
    }[verdict]


def signed(value: float | None) -> str:
    """A difference with its sign.

    Example:
        >>> signed(0.01234), signed(-0.5), signed(None)
        ('+0.012', '-0.50', '-')
    """
    return "-" if value is None else ("+" if value > 0 else "") + number(value, 2)


def interval(gain: Difference) -> str:
    """The ends of a 95 % interval."""
    return say("{low} to {high}", low=signed(gain.low), high=signed(gain.high))


def ablation_headline(study: Ablation) -> str:
    """What the study found, in one sentence."""
    named = {verdict: [one.trick for one in ranked(study) if one.verdict == verdict] for verdict in _COLOURS}
    parts = [
        say("{tricks} helped", tricks=_list(named["helps"])) if named["helps"] else "",
        say("{tricks} hurt", tricks=_list(named["hurts"])) if named["hurts"] else "",
    ]
    found = "; ".join(part for part in parts if part)
    tried = len(study.effects)
    if not found:
        return say("None of {count} tricks made a difference to {metric} that is certain.",
                   count=tried, metric=metric_name(study.metric))  # fmt: skip
    return say("Of {count} tricks, {found}.", count=tried, found=found)


def ablation_effort(study: Ablation) -> str:
    """What was done for it, in one or two sentences."""
    return say(
        "{trainings:,} trainings of {arms} arms in {time}, up to {replicates} replicates each, judged on {rows:,} rows.",
        trainings=study.trainings,
        arms=len(study.arms),
        time=duration(study.seconds_total),
        replicates=max((arm.count for arm in study.arms), default=0),
        rows=study.rows_judged,
    )


def response_headline(study: Response) -> str:
    """Where the dose is best, in one sentence."""
    level = next(one for one in study.levels if one.value == study.best)
    if study.best == study.reference:
        return say("{dose} is best at {best}, and no other level is better.", dose=study.dose, best=_word(study.best))
    gains = say("{gain} ({interval}) over {reference}", gain=signed(level.gain.mean), interval=interval(level.gain),
                reference=_word(study.reference))  # fmt: skip
    if study.certain:
        return say("{dose} is best at {best}: {gains} in {metric}.",
                   dose=study.dose, best=_word(study.best), gains=gains, metric=metric_name(study.metric))  # fmt: skip
    return say("{dose} scores best at {best}, {gains} in {metric}, which is not certain.",
               dose=study.dose, best=_word(study.best), gains=gains, metric=metric_name(study.metric))  # fmt: skip


def methods(study: Ablation) -> str:
    """The paragraph that a methods section needs."""
    doses = _list(study.nuisances) or say("no dose")
    looks = ", ".join(str(look) for look in study.looks)
    judged = say(
        "The standard error adds the variance over replicates and, by bootstrap, that over the {rows:,} judging rows, which "
        "all replicates shared.",
        rows=study.rows_judged,
    )
    if not study.shared:
        judged = say(
            "Each replicate had judging rows of its own ({rows:,}); the standard error is corrected for their overlap (Nadeau "
            "and Bengio, 2003).",
            rows=study.rows_judged,
        )
    return " ".join(
        [
            say(
                "Each of {tricks} tricks was left out of the recipe and added to a plain baseline. In every arm, {doses} were "
                "tuned again from the same {candidates} candidates on rows that were used for nothing else but early stopping.",
                tricks=len(study.effects), doses=doses, candidates=study.candidates,
            ),
            say(
                "Arms were then trained up to {replicates} times on resampled training rows ({trained:,}), with seeds and rows "
                "paired between arms, and judged by {metric} on {judged}. A reference trained for as long in seconds as the "
                "arm that it was compared with.",
                replicates=study.replicates, trained=study.rows_trained, metric=metric_name(study.metric), judged=study.judged,
            ),
            judged,
            say(
                "Intervals are 95 % t intervals. Differences were tested after {looks} replicates with an O'Brien-Fleming "
                "spending of a level of 5 % and Holm's procedure over the tricks; a difference is called equivalent if its "
                "90 % interval lies within {smallest} of zero.",
                looks=looks, smallest=number(study.smallest, 2),
            ),
        ]
    )  # fmt: skip


def ablation_lines(study: Ablation) -> list[tuple[str, str]]:
    """The result in a terminal: lines with their Rich style."""
    recipe, baseline = (next(arm for arm in study.arms if arm.name == name) for name in ("recipe", "baseline"))
    rows = [
        (say("trick"), say("kind"), say("worth"), say("95% interval"), say("verdict"), say("alone"), say("time")),
        *(
            (
                one.trick,
                one.kind,
                signed(one.without.mean),
                interval(one.without),
                one.verdict,
                signed(one.added.mean) if one.added is not None else "-",
                f"{one.time:.2f}x",
            )
            for one in ranked(study)
        ),
    ]
    return [
        (ablation_headline(study), "bold"),
        (
            say("Mean {metric}: {recipe} with the recipe, {baseline} with the plain baseline. {effort}",
                metric=metric_name(study.metric), recipe=number(recipe.score), baseline=number(baseline.score),
                effort=ablation_effort(study)),
            "",
        ),
        (say("What each trick is worth: gain in {metric} at equal time, the recipe over the recipe without it; alone: added to "
             "the baseline.", metric=metric_name(study.metric)), ""),
        *_aligned(rows, ["dim", *({"helps": "green", "hurts": "red"}.get(one.verdict, "") for one in ranked(study))]),
        *_pairs_and_shares(study),
        *_warned(study.warnings),
    ]  # fmt: skip


def _pairs_and_shares(study: Ablation) -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []
    if study.pairs:
        lines.append((say("Pairs: what two tricks are worth together beyond what each is worth without the other."), ""))
        lines += _aligned([(f"{one.first} x {one.second}", *_worth(one.value)) for one in study.pairs])
    if study.shares:
        lines.append((say("Shares of the whole gain of the recipe over itself without these tricks (Shapley values)."), ""))
        lines += _aligned([(one.group, *_worth(one.value)) for one in study.shares])
    return lines


def _worth(gain: Difference) -> tuple[str, str]:
    return signed(gain.mean), interval(gain)


def cure_headline(study: Cure) -> str:
    """What was cured, in one sentence."""
    kept = [remedy.rule for remedy in study.remedies if remedy.kept]
    if not study.before:
        return say("Nothing that was observed in this training looks sick.")
    if not kept:
        return say("No remedy was shown to help.")
    if study.gain is None:
        return say("Remedies for {rules} helped; there was no time for a proof.", rules=_list(kept))
    words = say("{gain} ({interval}) in {metric}", gain=signed(study.gain.mean), interval=interval(study.gain),
                metric=metric_name(study.metric))  # fmt: skip
    if study.gain.low is not None and study.gain.low > 0:
        return say("Cured of {rules}: {gain} on rows that chose nothing.", rules=_list(kept), gain=words)
    return say("Remedies for {rules} helped where they were chosen; the proof is open: {gain}.", rules=_list(kept), gain=words)


def cure_effort(study: Cure) -> str:
    """The scores, and what was done for them."""
    if study.score_before is None or study.score_after is None:
        return say("{trainings:,} trainings in {time}.", trainings=study.trainings, time=duration(study.seconds_total))
    return say(
        "Mean {metric}: {before} as it was, {after} cured. {trainings:,} trainings in {time}, {count} fresh replicates, judged "
        "on {rows:,} rows.",
        metric=metric_name(study.metric), before=number(study.score_before), after=number(study.score_after),
        trainings=study.trainings, time=duration(study.seconds_total), count=study.replicates, rows=study.rows_judged,
    )  # fmt: skip


def cure_lines(study: Cure) -> list[tuple[str, str]]:
    """The result in a terminal: lines with their Rich style."""
    rows = [
        (say("finding"), say("remedy"), say("gain"), say("95% interval"), say("p"), ""),
        *(
            (
                one.rule,
                _changed(one),
                signed(one.gain.mean),
                interval(one.gain),
                number(one.gain.p, 2),
                say("kept") if one.kept else say("not kept"),
            )
            for one in study.remedies
        ),
    ]
    left = [found.rule for found in study.after]
    return [
        (cure_headline(study), "bold"),
        (cure_effort(study), ""),
        *(_aligned(rows, ["dim", *("green" if one.kept else "" for one in study.remedies)]) if study.remedies else []),
        (say("Findings as it was: {rules}", rules=", ".join(found.rule for found in study.before) or say("none")), ""),
        (say("Findings with the remedies: {rules}", rules=", ".join(left) or say("none")), ""),
        *_warned(study.warnings),
    ]


def _changed(remedy: Remedy) -> str:
    return ", ".join(f"{path} {dose(value)}" for path, value in remedy.change.items())


def response_lines(study: Response) -> list[tuple[str, str]]:
    """The result in a terminal: lines with their Rich style."""
    rows = [
        (study.dose, say("score"), say("gain"), say("95% interval"), ""),
        *(
            (_word(one.value), number(one.score), signed(one.gain.mean), interval(one.gain), _marked(one.off, one.here))
            for one in study.levels
        ),
    ]
    return [
        (response_headline(study), "bold"),
        (say("Gain in {metric} over {reference}; {replicates} replicates a level, judged on {rows:,} rows.",
             metric=metric_name(study.metric), reference=_word(study.reference), replicates=study.levels[0].gain.count,
             rows=study.rows_judged), ""),
        *_aligned(rows, ["dim", *[""] * len(study.levels)]),
        *_warned(study.warnings),
    ]  # fmt: skip


def _aligned(rows: Sequence[tuple[str, ...]], styles: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Rows as lines whose columns stand below one another, each with its style."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return [
        ("  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip(), style)
        for row, style in zip(rows, styles or [""] * len(rows), strict=True)
    ]


def _warned(warnings: Sequence[str]) -> list[tuple[str, str]]:
    return [(say("Warnings"), "yellow"), *((f"  {' '.join(text.split())}", "") for text in warnings)] if warnings else []


def _marked(off: bool, here: bool) -> str:
    return ", ".join(word for word, said in ((say("off"), off), (say("the recipe"), here)) if said)


def _word(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _list(names: Sequence[str]) -> str:
    """Names as people write a list.

    Example:
        >>> _list(["a"]), _list(["a", "b", "c"])
        ('a', 'a, b and c')
    """
    if len(names) < 2:
        return "".join(names)
    return say("{first} and {last}", first=", ".join(names[:-1]), last=names[-1])
