"""The door for chat front ends and the command line: an OpenAI-compatible server on 8083 and on ``api.sock``.

    request → gate (peer or key, scope, Host, Origin, limits) → app (paths)
            → answers: completions | responses → front (task, command, card, else chat) → showing
            → system: the command line's look-ups

``wire`` is the shape of what is asked, ``server`` lives on the sockets.
"""
