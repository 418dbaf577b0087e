"""Layer 1, notice: journal entries and units' states become triggers, without any model.

``rules`` is the table, ``templates`` says which lines are alike, ``decide`` judges a batch with ``bursts`` and
``failures`` (all pure), ``daemon`` reads, asks systemd and commits.
"""
