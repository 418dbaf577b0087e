"""What is known about an incident, in a form that can be judged.

``evidence`` gathers it, ``facts`` reads from it what code can decide by itself, ``defuse`` makes text from the host
harmless to show and to put before a model, ``condition`` keeps a service's note on how well it can judge.
"""
