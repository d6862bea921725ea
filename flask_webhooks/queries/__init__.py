"""The read side: everything that pages, the API and commands show.

Each function takes an `Access` first and sees only what is in its scope. It takes a constant number of
statements, in a short session of its own, and returns objects that are detached from it.

Lists are in order of id, newest first. To page, pass the `next_before` of a page as `before`.
"""

from ..bulk.looking import Preview
from .deliveries import (
    DeliveryDetail,
    DeliveryRow,
    get_delivery,
    list_deliveries,
)
from .endpoints import EndpointDetail, EndpointRow, get_endpoint, list_endpoints, quota
from .events import EventDetail, EventRow, get_event, list_events
from .pages import MAX_LIMIT, Page
from .system import HealthReport, health, list_activity
from .tasks import TaskRow, get_task, list_tasks, preview_task

__all__ = [
    "MAX_LIMIT",
    "DeliveryDetail",
    "DeliveryRow",
    "EndpointDetail",
    "EndpointRow",
    "EventDetail",
    "EventRow",
    "HealthReport",
    "Page",
    "Preview",
    "TaskRow",
    "get_delivery",
    "get_endpoint",
    "get_event",
    "get_task",
    "health",
    "list_activity",
    "list_deliveries",
    "list_endpoints",
    "list_events",
    "list_tasks",
    "preview_task",
    "quota",
]
