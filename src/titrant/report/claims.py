"""The page of claims: what articles say, what was measured, and a figure for each, as Markdown with SVG beside it."""

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

from titrant.evidence.lab import Curve, Finding
from titrant.record import write_text
from titrant.report.evidence import interval, signed
from titrant.report.words import duration, number
from titrant.texts import say

_COLOURS = ("#0072b2", "#c44e00", "#00795a", "#9b4f96", "#a07000")  # read well on light and on dark ground
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 640, 300, 62, 42, 34


def write_claims(findings: Sequence[Finding], folder: Path, machine: str) -> Path:
    """Writes `claims.md` and an SVG file for each claim; returns the page's path.

    Args:
        findings: what became of the claims.
        folder: an existing folder.
        machine: what it was measured on, in words.
    """
    for finding in findings:
        write_text(folder / f"{finding.name}.svg", drawing(finding))
    write_text(folder / "claims.md", page(findings, machine))
    return folder / "claims.md"


def page(findings: Sequence[Finding], machine: str) -> str:
    """The page as Markdown."""
    parts = [
        "# " + say("What articles claim, measured"),
        say(
            "Each claim was tried on real data. A statement holds where the 95 % interval of its difference lies above zero, "
            "is contradicted where it lies below, and is not certain otherwise; a claim holds if all its statements do, and is "
            "contradicted if one is. `titrant claims` repeats all of it, in {time} on {machine}.",
            time=duration(sum(finding.seconds for finding in findings)), machine=machine,
        ),
        "\n".join(
            [
                f"| {say('claim')} | {say('verdict')} |",
                "|---|---|",
                *(f"| [{finding.says}](#{finding.name}) | **{verdict_words(finding.verdict)}** |" for finding in findings),
            ]
        ),
    ]  # fmt: skip
    for finding in findings:
        rows = [
            f"| {one.says} | {one.measured} | {signed(one.gain.mean)} | {interval(one.gain)} | {one.gain.count} | "
            f"{verdict_words(one.verdict)} |"
            for one in finding.statements
        ]
        parts += [
            f'<a id="{finding.name}"></a>\n\n## {finding.says}',
            say("**{verdict}**, on {data}. Slot: `{trick}`. Source of the claim: {source}.",
                verdict=verdict_words(finding.verdict).capitalize(), data=finding.data, trick=finding.trick,
                source=finding.source),
            "\n".join(
                [
                    f"| {say('statement')} | {say('measured')} | {say('difference')} | {say('95% interval')} | "
                    f"{say('replicates')} | {say('verdict')} |",
                    "|---|---|---|---|---|---|",
                    *rows,
                ]
            ),
            f"![{finding.says}]({finding.name}.svg)",
        ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def verdict_words(verdict: str) -> str:
    """A verdict as a person reads it."""
    return {"holds": say("holds"), "contradicted": say("contradicted"), "not certain": say("not certain")}[verdict]


def drawing(finding: Finding) -> str:
    """The curves of a claim as SVG; a logarithmic scale where they span much."""
    curves = [Curve(label=one.label, x=one.x, y=[min(value, 1e6) for value in one.y]) for one in finding.curves]
    values = [value for curve in curves for value in curve.y]
    log = min(values) > 0 and max(values) > 30 * min(values)
    low, high = (math.log10(min(values)), math.log10(max(values))) if log else (min(values), max(values))
    left = min(x for curve in curves for x in curve.x)
    right = max(x for curve in curves for x in curve.x)
    span, reach = high - low or 1.0, right - left or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        height = math.log10(y) if log else y
        across = _LEFT + (_WIDTH - _LEFT - 12) * (x - left) / reach
        return across, _HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _TOP) * (height - low) / span

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12" '
        f'fill="#7a848e" role="img" aria-label="{escape(finding.says)}">'
    ]
    for step in range(5):
        value = low + span * step / 4
        shown = 10**value if log else value
        _, y = place(left, shown)
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - 12}" stroke="#7a848e" stroke-opacity=".25"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{number(shown, 2)}</text>')
    for step in range(5):
        x, _ = place(left + reach * step / 4, max(values))
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - 24}" text-anchor="middle">{left + reach * step / 4:.3g}</text>')
    start = _LEFT
    for curve, colour in zip(curves, _COLOURS, strict=False):
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in zip(curve.x, curve.y, strict=True)))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{start}" y="16" fill="{colour}" font-weight="bold">{escape(curve.label)}</text>')
        start += 14 + 7 * len(curve.label)
    parts.append(f'<text x="{(_WIDTH + _LEFT) / 2}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(finding.x)}</text>')
    parts.append(f'<text transform="translate(13 {_HEIGHT / 2}) rotate(-90)" text-anchor="middle">{escape(finding.y)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def claims_lines(findings: Sequence[Finding]) -> list[tuple[str, str]]:
    """The result in a terminal: lines with their Rich style."""
    lines = []
    for finding in findings:
        style = {"holds": "green", "contradicted": "red"}.get(finding.verdict, "")
        lines.append((f"{verdict_words(finding.verdict):<13} {finding.says}", style))
        lines += [
            (f"    {signed(one.gain.mean):>8} ({interval(one.gain)})  {one.measured}: {verdict_words(one.verdict)}", "")
            for one in finding.statements
        ]
    return lines
