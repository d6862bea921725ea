"""The APIs of licensing services, as documented by them, on top of our actions: for programs that were written for
them.
"""

from .blueprint import create_blueprint

__all__ = ["create_blueprint"]
