"""The search for a good recipe within the time.

`region` is what may be visited, `portfolio` where it starts, `proposers` and `forest` choose what comes next, `mixture` whose
turn it is, `halving` spends training on what looks good, `finals` trains the best again on folds of all development rows,
`study` puts these together.
"""
