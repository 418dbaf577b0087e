"""Fixtures of the tests in this directory; others import them from ``tests.llama.server``."""

from tests.llama.server import llama, tiny_model

__all__ = ["llama", "tiny_model"]
