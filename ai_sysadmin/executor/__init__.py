"""The privileged process. Read in this order:

    decide      what the precondition, the need and the policy say to a request    (pure)
    looking     what is seen of the host before that: by the entry itself, and by
                ``holds`` (what else is at work), ``halt`` (the kill switch)
    asking      proposals, and who may decide: ``approvers``, ``room``
    entry       an action as it is known; ``journal`` keeps it, ``audit`` tells it (before anything is done),
                ``retention`` forgets it
    life        one action from what may run to its outcome, and again after a crash, over ``clearance`` (may it
                begin now), ``stages``, ``post_check`` with ``probing``, ``inhibitor``
    systemd     the only effects: transient units, each in its ``sandbox``, read by ``output``; or ``polkit``
    server      two sockets: who may say what; ``admission``: how many at a time
    daemon      puts them together

It holds no model code and no network; nothing is ever done from its own process.
"""
