"""The read side: everything that pages, the API and commands show.

Each function takes an `Access` first and sees only what is in its scope. It takes a constant number of
statements, in a short session of its own, and returns objects that are detached from it.

Lists are in order of id, newest first. To page, pass the `next_before` of a page as `before`.
"""

from ..bulk.looking import Preview
from .bodies import Missing
from .completion import (
    begun_deliveries,
    begun_endpoints,
    begun_events,
    begun_portal_links,
    begun_scheduled,
    begun_tasks,
    begun_tenants,
    begun_tokens,
)
from .deliveries import (
    MOST_ATTEMPTS,
    DeliveryDetail,
    DeliveryRow,
    get_delivery,
    last_errors,
    list_deliveries,
)
from .endpoints import (
    HEALTH,
    EndpointDetail,
    EndpointRow,
    Limit,
    SecretRow,
    count_endpoints,
    find_endpoints,
    get_endpoint,
    list_endpoints,
    name_endpoints,
    quota,
)
from .engine import EngineReport, engine
from .event_types import (
    MOST_SUBSCRIBERS,
    DataVersion,
    EventTypeDetail,
    EventTypeRow,
    Subscribers,
    get_event_type,
    list_event_types,
)
from .events import EventDetail, EventRow, get_event, list_events
from .examples import example
from .filter_trials import FilterTrial, try_filter
from .following import Follower
from .health_check import Readiness, readiness
from .keys import KeyUse, PublicKey, key_use, public_keys
from .ledger import MAX_NUMBERS, REMOVED, LedgerEntry, LedgerPage, get_ledger, ledger_signature
from .metrics import FAILING, METRIC_LABELS, Metrics, read_metrics
from .notifications import NotificationRow, list_notifications
from .pages import MAX_LIMIT, Page
from .portal_links import get_portal_link, list_portal_links
from .pulling import DEFAULT_PULLED, MAX_PULLED, Pull, Pulled, PulledEvent
from .routing import EXPLAINED, Routing, Why, explain_routing
from .scheduled import ScheduledDetail, get_scheduled, list_scheduled
from .searching import SEARCHED
from .signatures import check_signature
from .statistics import PERIODS, AttemptCounts, Failing, Series, most_failures, statistics
from .system import (
    MOST_COUNTED,
    Backlog,
    HealthReport,
    backlog,
    database_troubles,
    health,
    list_activity,
    silent_workers,
)
from .tasks import (
    TaskRow,
    get_task,
    list_tasks,
    preview_task,
    pruning_rests_until,
)
from .tenants import UnknownTenant, require_tenant, unknown_tenant
from .tokens import get_token, list_tokens

__all__ = [
    "DEFAULT_PULLED",
    "EXPLAINED",
    "FAILING",
    "HEALTH",
    "MAX_LIMIT",
    "MAX_NUMBERS",
    "MAX_PULLED",
    "METRIC_LABELS",
    "MOST_ATTEMPTS",
    "MOST_COUNTED",
    "MOST_SUBSCRIBERS",
    "PERIODS",
    "REMOVED",
    "SEARCHED",
    "AttemptCounts",
    "Backlog",
    "DataVersion",
    "DeliveryDetail",
    "DeliveryRow",
    "EndpointDetail",
    "EndpointRow",
    "EngineReport",
    "EventDetail",
    "EventRow",
    "EventTypeDetail",
    "EventTypeRow",
    "Failing",
    "FilterTrial",
    "Follower",
    "HealthReport",
    "KeyUse",
    "LedgerEntry",
    "LedgerPage",
    "Limit",
    "Metrics",
    "Missing",
    "NotificationRow",
    "Page",
    "Preview",
    "PublicKey",
    "Pull",
    "Pulled",
    "PulledEvent",
    "Readiness",
    "Routing",
    "ScheduledDetail",
    "SecretRow",
    "Series",
    "Subscribers",
    "TaskRow",
    "UnknownTenant",
    "Why",
    "backlog",
    "begun_deliveries",
    "begun_endpoints",
    "begun_events",
    "begun_portal_links",
    "begun_scheduled",
    "begun_tasks",
    "begun_tenants",
    "begun_tokens",
    "check_signature",
    "count_endpoints",
    "database_troubles",
    "engine",
    "example",
    "explain_routing",
    "find_endpoints",
    "get_delivery",
    "get_endpoint",
    "get_event",
    "get_event_type",
    "get_ledger",
    "get_portal_link",
    "get_scheduled",
    "get_task",
    "get_token",
    "health",
    "key_use",
    "last_errors",
    "ledger_signature",
    "list_activity",
    "list_deliveries",
    "list_endpoints",
    "list_event_types",
    "list_events",
    "list_notifications",
    "list_portal_links",
    "list_scheduled",
    "list_tasks",
    "list_tokens",
    "most_failures",
    "name_endpoints",
    "preview_task",
    "pruning_rests_until",
    "public_keys",
    "quota",
    "read_metrics",
    "readiness",
    "require_tenant",
    "silent_workers",
    "statistics",
    "try_filter",
    "unknown_tenant",
]
