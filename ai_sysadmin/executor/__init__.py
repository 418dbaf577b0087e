"""The privileged process. Read in this order:

    decide    what the precondition and the policy say to a request     (pure)
    approvers whose yes counts beside an operator's own: a key, and who is behind it
    journal   what was asked, ruled, approved, begun and ended          (written before anything is done)
    systemd   how an action is done: one transient unit under its id    (the only effects)
    life      one action from proposal to outcome, and again after a crash
    server    two sockets: who may say what

It holds no model code and no network; nothing is ever done from its own process.
"""
