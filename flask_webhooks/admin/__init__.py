"""The pages in the browser: a blueprint over `queries` and `actions`, without SQL of its own."""

from .blueprint import create_blueprint
from .i18n import translated_into

__all__ = ["create_blueprint", "translated_into"]
