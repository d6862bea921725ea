"""``flask webhooks …``: run workers, create the tables, manage endpoints, events and deliveries."""

from .. import commands
from . import (
    database,
    endpoint_settings,
    events,
    filter_trials,
    formats,
    ledger,
    matching,
    scheduling,
    schema,
    workers,
)
from .activity import activity
from .deliveries import deliveries
from .doctor import doctor
from .encryption import reencrypt
from .endpoints import endpoints, send_test
from .event_types import event_types
from .failures import Commands, end_our_command
from .health import health
from .listen import listen
from .portal_links import portal_links
from .tail import tail
from .tasks import tasks
from .tokens import tokens

__all__ = ["end_our_command", "webhooks"]

webhooks = Commands("webhooks", help=commands.webhooks.help)
for group in (
    endpoints,
    events.events,
    event_types,
    deliveries,
    tasks,
    activity,
    tokens,
    portal_links,
):
    webhooks.add_command(group)
workers.add_to(webhooks)
database.add_to(webhooks)
endpoint_settings.add_to(endpoints)
filter_trials.add_to(endpoints)
ledger.add_to(endpoints)
scheduling.add_to(events.events)
matching.add_to(endpoints, deliveries)
webhooks.add_command(events.why)
webhooks.add_command(health)
webhooks.add_command(doctor)
webhooks.add_command(reencrypt)
webhooks.add_command(tail)
webhooks.add_command(listen)
webhooks.add_command(formats.render)
webhooks.add_command(formats.import_endpoints)
webhooks.add_command(send_test, "test")
schema.add_to(webhooks)
