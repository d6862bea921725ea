"""The coalescing part of an endpoint's form, with one event type per row."""

from __future__ import annotations

from typing import Any

from wtforms import BooleanField, FieldList, Form, FormField, StringField

from ..catalog.registry import Catalog
from ..errors import Faults, InvalidEndpoint
from ..filters.coalescing import MAX_RULES, check_member, check_seconds, check_type

#: Empty rows for more event types.
_SPARE_ROWS = 2
#: The prefix of the path of a member, which the form omits.
_DATA = "data."


class FaultyRule(InvalidEndpoint):
    """A row is invalid.

    :ivar row: its number, from 0.
    :ivar part: ``type``, ``by`` or ``seconds``.
    """

    default_field = "coalesce"

    def __init__(
        self, message: str | None = None, *, row: int = 0, part: str = "type", **values: Any
    ) -> None:
        super().__init__(message, **values)
        self.row = row
        self.part = part

    @classmethod
    def within(cls, error: InvalidEndpoint, row: int, part: str) -> FaultyRule:
        """Return the error of one row."""
        return cls(error.text, row=row, part=part)


class CoalescingRowForm(Form):
    """The rule for one event type, a row of `CoalescingFields`."""

    type = StringField()
    by = StringField()
    seconds = StringField()


class CoalescingFields:
    """The fields of a form for coalescing."""

    coalescing = FieldList(FormField(CoalescingRowForm), max_entries=MAX_RULES + 2 * _SPARE_ROWS)
    more_rules = BooleanField()

    def add_rule_rows(self) -> None:
        """Add empty rows at the end."""
        for _row in range(_SPARE_ROWS):
            if len(self.coalescing) < MAX_RULES + _SPARE_ROWS:
                self.coalescing.append_entry()

    def show_coalescing(self, stored: dict[str, Any] | None) -> None:
        """Put stored rules into the form."""
        for event_type, rule in (stored or {}).items():
            by, seconds = str(rule["by"]).removeprefix(_DATA), str(rule["seconds"])
            self.coalescing.append_entry({"type": event_type, "by": by, "seconds": seconds})

    def chosen_coalescing(
        self, catalog: Catalog, stored: dict[str, Any] | None = None
    ) -> dict[str, Any] | None:
        """Return the rules in the form; ``None`` if there are none.

        :param stored: the rules of the endpoint, which may keep rules of removed event types.
        :raises InvalidEndpoint: a row is invalid.
        """
        rules: dict[str, Any] = {}
        faults = Faults()
        for number, row in enumerate(self.coalescing):
            name, by, seconds = (
                (row.form[part].data or "").strip() for part in ("type", "by", "seconds")
            )
            if not (name or by or seconds):
                continue
            if name in rules:
                with faults:
                    raise FaultyRule("There is already a row for this event type.", row=number)
            if name not in (stored or {}):
                faults.check(_in_row, number, "type", check_type, name, catalog)
            member = by if by.startswith(_DATA) else _DATA + by
            rules[name] = {
                "by": faults.check(_in_row, number, "by", check_member, member),
                "seconds": faults.check(_in_row, number, "seconds", check_seconds, _whole(seconds)),
            }
        faults.finish()
        return rules or None

    def place_in_coalescing(self, error: FaultyRule) -> str:
        """Return the name of the invalid field."""
        return str(self.coalescing[error.row].form[error.part].name)


def _in_row(number: int, part: str, check: Any, *given: Any) -> Any:
    """:raises FaultyRule: the check fails."""
    try:
        return check(*given)
    except InvalidEndpoint as error:
        raise FaultyRule.within(error, number, part) from None


def _whole(text: str) -> int | str:
    # Python refuses numbers with thousands of digits.
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else text
