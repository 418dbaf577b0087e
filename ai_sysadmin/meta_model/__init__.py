"""Layer 4, investigate and talk: what a review could not settle gets a diagnosis, and every chat an answer.

``decide`` is what code decides before and after the model, ``rules`` investigates without one, ``prompt.md`` and
``chat.md`` hold the words, ``daemon`` investigates escalations in the background, ``chat`` answers people, ``report``
is what it says when there is no model.
"""
