"""What may be done at all, who may do it, and how a proposal reaches the executor.

``catalogue`` is closed: a model names an entry and code checks its arguments. ``policy`` is the readable table of
autonomy and risk. ``client`` speaks to the executor's sockets; ``courier`` carries requests there and events back.
"""
