"""A private, local system administrator.

The package listing is the pipeline:

    sources          what the host says: journal, units, host
       │ JournalEntry
    trigger_monitor  1 notice       rules, templates, bursts            → Trigger → Incident
       │
    context          2 remember     evidence pack for a judgement       → Evidence
       │
    review_model     3 judge        4B model, or rules without it       → Review
       │ Escalation
    meta_model       4 investigate  14B model with tools (read-only     → Investigation
       │                            look-ups); answers every chat
       │ ActionRequest (a name and typed arguments, never a command line)
    actions → executor  act         rule, approve, run, check, revert   → Ruling, Approval, Outcome
       │
    notifications    tell           a person is needed, it was mended

    openai_api_server  :8083        the door for chat front ends and the command line

Everything rests on ``llm_backend`` (one door to every model), ``stores`` (what is remembered), ``runtime``
(how a process lives) and ``core`` (the nouns, the incident's state machine, settings, errors).
"""

__version__ = "0.1.0"
