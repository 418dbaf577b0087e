"""What the host says, as typed look-ups: the journal, the units, memory, mounts and load.

Each look-up returns frozen values, or raises an error whose text is one clear sentence for people.
"""
