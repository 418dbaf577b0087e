"""Ordinary weeks of a server's and a desktop's journal, made up: layer 1 has to stay quiet through them.

``voices/`` holds what many services say, ``voices.py`` reads it, ``slots.py`` fills in what varies, ``plan.py`` says
when, ``speak.py`` makes entries, ``days.py`` joins them to days and puts faults in; ``units.py`` answers as systemd
would have at any moment; ``harness.py`` runs layer 1 in ``simulated_time.py``. ``python -m tests.quiet`` prints a week.
"""
