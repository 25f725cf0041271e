"""The search for a good recipe within the time.

`region` is what may be visited, `portfolio` where it starts, `proposers` choose what comes next, `halving` spends training on
what looks good, `finals` trains the best again on folds of all development rows, `study` puts these together.
"""
