"""What everything else speaks of: records, the incident's state machine, settings, errors, time. No I/O."""
