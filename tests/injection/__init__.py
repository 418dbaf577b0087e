"""Hostile texts through the whole suite, with a model that does whatever it reads."""
