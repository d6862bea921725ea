"""Write outcomes, one by one if the database refuses a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sqlalchemy as sa

from ...db.clock import DatabaseClock
from ...db.errors import may_pass
from ...log import get_logger, log_failure
from ..database import Database
from ..outcome import AttemptRecord, Released, Settled
from .attempts import less_demanding
from .write import Settler

logger = get_logger("flask_webhooks.delivery")


class Recorder:
    """Settles for one drain over its database.

    :param dispatch: receives the results of each batch, for the host's signals.
    """

    def __init__(
        self,
        database: Database,
        settler: Settler,
        clock: DatabaseClock,
        dispatch: Callable[[Settled], None],
    ) -> None:
        self._database = database
        self._settler = settler
        self._clock = clock
        self._dispatch = dispatch

    def write(self, attempts: Sequence[AttemptRecord], released: Sequence[Released]) -> bool:
        """Settle a batch; return whether this created or released work.

        :raises DBAPIError: the database stayed away.
        """
        try:
            return self._write(attempts, released)
        except Exception as error:
            if may_pass(error):
                raise
        # One by one, so that a failing one does not block others.
        changed = self._write([], released)
        for attempt in attempts:
            changed |= self._write_alone(attempt)
        return changed

    def _write(self, attempts: Sequence[AttemptRecord], released: Sequence[Released] = ()) -> bool:
        def write(connection: sa.Connection) -> Settled:
            return self._settler.settle(connection, self._clock.now(), attempts, released)

        settled = self._database.run(write)
        self._dispatch(settled)
        return bool(settled.changes) or settled.emitted

    def _write_alone(self, attempt: AttemptRecord) -> bool:
        """Settle an attempt, with reduced values if the database refuses it. In the worst case its lease expires."""
        delivery_id = attempt.claimed.delivery_id
        refusal: Exception | None = None
        for version in (attempt, *less_demanding(attempt)):
            try:
                changed = self._write([version])
            except Exception as error:
                if may_pass(error):
                    raise
                refusal = error
            else:
                if refusal is not None and version.request_body is None:
                    logger.warning(
                        "The attempt of delivery %s is recorded without bodies (%s): check that the database can "
                        "store every character",
                        delivery_id,
                        type(refusal).__name__,
                    )
                return changed
        assert refusal is not None
        log_failure(
            logger, "The attempt of delivery %s cannot be recorded", delivery_id, error=refusal
        )
        return False
