"""`chat`: a conversation in the terminal, with the assistant that answers every front end.

    input → loop → orders (a line that begins with a slash) | telling (the API) → stream → view

``session`` keeps what was said, ``markdown`` and ``progress`` are what a person sees of it, ``stopping`` is Ctrl-C.
"""
