"""The doctor: finds why a training run is sick, and says what cures it.

How data flows::

    a run ─ probes (probes.py for torch, attach_keras.py, attach_lightning.py) ─→ recorder.py ─→ case.py ─→ rules ─→ finding.py

- `case.py`: what was recorded, plain data; `recorder.py` turns tensors into it; `schedule.py` says which steps are looked at.
- `table.py`: one table of all rules with their thresholds, sources, causes and remedies, in order of cause: a finding that can
  explain another stands before it.
- `rules/`: for each line of the table a pure function of the case, grouped by family.
- `script.py`: runs a program under observation in a process of its own.
"""
