"""Layer 1, notice: what logs say, what systemd says, what the host measures become triggers, without any model.

    lines/   journal and files → templates → rules, bursts, severe lines     ┐
    units/   systemd's signals → failures confirmed, with their roots        ├→ ledger → incidents → recoveries
    host/    samples, probes → thresholds, forecasts, baselines              │
    alerts   what other systems tell                                         ┘

``daemon`` puts them together; ``labels`` has the trigger model label templates, and nothing waits for it.
"""
