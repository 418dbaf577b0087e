"""Layer 3, judge: an incident and its evidence become a verdict, by the 4B model or by rules without it.

``decide`` is what code decides before and after the model, ``rules`` and ``well_known`` judge without one, ``budget``
says how much may be asked, ``judge`` brings these together;
``prompt.md`` holds the words, ``daemon`` does the I/O.

The whole host: ``trends`` and ``host_seen`` say what stands out, ``health`` makes a report of it, ``host_look`` and
``host_review`` do the I/O.
"""
