"""The JSON API: a blueprint over `queries` and `actions`, without SQL of its own, and its OpenAPI document."""

from . import vendors
from .blueprint import create_blueprint

__all__ = ["create_blueprint", "vendors"]
