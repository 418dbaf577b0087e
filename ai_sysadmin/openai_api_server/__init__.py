"""The door for chat front ends and the command line: an OpenAI-compatible server on 8083 and on ``api.sock``.

    request → gate (peer or key, Host, Origin, size) → app (paths) → chat | system

``gate`` decides who comes in, ``wire`` and ``views`` are the shape of what is said, ``streaming`` sends an answer
piece by piece, ``server`` lives on the sockets. Nothing here writes: a door that only reads and talks.
"""
