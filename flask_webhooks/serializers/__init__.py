"""What programs are shown of each thing, by the API and by commands with ``--json``: one definition each.

Nothing here is a secret: those are only in answers that make one.
"""

from .base import JsonObject, Member, member, one_of, to_json
from .catalog import EventTypeObject, ExampleObject, FormatObject
from .deliveries import (
    AttemptObject,
    DeliveryDetailObject,
    DeliveryObject,
    DeliveryRowObject,
    EventDetailObject,
    EventRowObject,
    FilterTrialObject,
    RoutingObject,
    ScheduledDetailObject,
    ScheduledObject,
)
from .endpoints import (
    CreatedEndpointObject,
    DeletedObject,
    EndedOverlapObject,
    EndpointDetailObject,
    EndpointObject,
    EndpointRowObject,
    PublicKeyObject,
    QuotaObject,
    RotatedObject,
)
from .reports import (
    ActivityObject,
    BucketObject,
    CreatedTokenObject,
    FailingObject,
    HealthObject,
    PreviewObject,
    QueueObject,
    StatisticsObject,
    TaskObject,
    TokenObject,
)

__all__ = [
    "ActivityObject",
    "AttemptObject",
    "BucketObject",
    "CreatedEndpointObject",
    "CreatedTokenObject",
    "DeletedObject",
    "DeliveryDetailObject",
    "DeliveryObject",
    "DeliveryRowObject",
    "EndedOverlapObject",
    "EndpointDetailObject",
    "EndpointObject",
    "EndpointRowObject",
    "EventDetailObject",
    "EventRowObject",
    "EventTypeObject",
    "ExampleObject",
    "FailingObject",
    "FilterTrialObject",
    "FormatObject",
    "HealthObject",
    "JsonObject",
    "Member",
    "PreviewObject",
    "PublicKeyObject",
    "QueueObject",
    "QuotaObject",
    "RotatedObject",
    "RoutingObject",
    "ScheduledDetailObject",
    "ScheduledObject",
    "StatisticsObject",
    "TaskObject",
    "TokenObject",
    "member",
    "one_of",
    "to_json",
]
