"""The pieces of an evidence pack, one module each: what is looked up, and how it reads.

Each module's ``look`` returns a ``Draft``, or none where there is nothing to say; ``context.evidence`` puts them in
their order. Every text of the host goes through a ``Cleaner``.
"""
