"""Find the fastest choices of the schedule rules by measuring, and keep what was found.

`tasks` lists the kernels of a model, `search` chooses what to measure next, `measuring` builds and
times it, `journal` keeps every measurement, `records` the best of them, and `jobs` runs it all.
"""
