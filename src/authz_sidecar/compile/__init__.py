"""Floor 3: a bundle becomes a snapshot: planner, role graphs, indexes. Pure.

Whoever decides on a snapshot needs no compiler, and does not load one.
"""
