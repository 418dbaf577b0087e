"""What is known about an incident, in a form that can be judged.

``evidence`` gathers it out of ``pieces``, ``redact`` takes secrets out of it and ``defuse`` makes it harmless to show
and to put before a model; ``facts`` reads from it what code can decide by itself, ``window`` fits it into a prompt.
``knowledge`` is what is known beside it. ``condition`` keeps a service's note on how well it can judge.
"""
