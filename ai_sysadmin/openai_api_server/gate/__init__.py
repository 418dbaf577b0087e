"""Who comes in, for what, and how often. ``gate`` asks the others: ``peers`` and ``keys``, ``origins``, ``limits``."""
