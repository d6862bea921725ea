"""The API of a licensing service as its page shows it, over the same actions: for programs that were written for it."""

from .blueprint import create_blueprint

__all__ = ["create_blueprint"]
