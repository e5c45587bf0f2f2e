"""Clients, each a script that is run by the Python of an environment of its own (benchmarks/clients/setup.sh).

    PYTHON benchmarks/clients/NAME.py PORT DOCUMENTS CONCURRENCY FOLDER [MODE]

A script prints one line of JSON: seconds and CPU seconds of the generation alone (imports left out, results on disk),
with the children that it started. What a peer would fetch or report over a network is refused by `guard`.
"""
