"""Layer 3, judge: an incident and its evidence become a verdict, by the 4B model or by rules without it.

``decide`` is what code decides before and after the model, ``rules`` judges without one, ``prompt.md`` holds the
words, ``daemon`` does the I/O.
"""
