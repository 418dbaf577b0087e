"""Layer 4, investigate and talk: what a review could not settle gets a diagnosis, and every chat an answer.

    agent (the loop) ← choosing (how a model says what is next) ← steps, spotting, offer, transcript

``investigate`` takes an escalation to its end: ``decide`` is what code decides before and after the model, ``rules``
does it without one, ``prompt.md`` holds the words, ``daemon`` claims and stores. ``chat`` answers people:
``conversation`` fits what was said, ``waking`` waits for a model, ``talk`` is what goes in and comes out, ``report`` is
what it says when there is no model, ``proposals`` puts an action up; ``small_tasks`` does a front end's errands.
"""
