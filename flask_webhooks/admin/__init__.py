"""The pages in the browser: a blueprint over `queries` and `actions`, without SQL of its own."""

from .blueprint import create_blueprint

__all__ = ["create_blueprint"]
