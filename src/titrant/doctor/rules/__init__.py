"""The rules: for each line of the table a function of the case with the same name, in the module of its family.

A rule returns a finding, or None. Many rules look for something that may be harmless: such a suspicion is a problem only where
the run is seen to learn poorly, and a warning or a note elsewhere (`reading.grave`). That keeps healthy runs free of alarms.
"""

from collections.abc import Callable

from titrant.doctor.case import Case
from titrant.doctor.finding import Finding, Findings
from titrant.doctor.rules import data, fit, gradients, initialisation, learning_rate, objective, units, wiring
from titrant.doctor.table import TABLE, in_order

_FAMILIES = {
    "data": data,
    "objective": objective,
    "wiring": wiring,
    "initialisation": initialisation,
    "learning_rate": learning_rate,
    "units": units,
    "gradients": gradients,
    "fit": fit,
}

RULES: dict[str, Callable[[Case], Finding | None]] = {
    name: getattr(_FAMILIES[entry.family], name) for name, entry in TABLE.items()
}


def diagnose(case: Case) -> Findings:
    """Everything that the rules find in a case, the gravest first, causes before consequences."""
    found = in_order([finding for rule in RULES.values() if (finding := rule(case)) is not None])
    if case.framework == "keras":
        found = [one.model_copy(update={"code": TABLE[one.rule].keras or one.code}) for one in found]
    return Findings(found)
