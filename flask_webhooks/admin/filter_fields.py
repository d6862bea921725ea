"""The filter part of an endpoint's form: rows, JSON, and a test."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from wtforms import BooleanField, FieldList, Form, FormField, StringField, TextAreaField

from ..errors import InvalidFilter
from ..filters.notation import MAX_CONDITIONS, parse_filter
from .filter_rows import ALL, FaultyRow, FilterRow, filter_from_rows, rows_from_filter

#: Empty rows for more conditions.
_SPARE_ROWS = 3


class FilterRowForm(Form):
    """One condition, a row of `FilterFields`."""

    path = StringField()
    operator = StringField(default="is")
    value = StringField()


class FilterFields:
    """The fields of a form for a filter."""

    #: ``none``, ``rows`` or ``json``.
    filter_by = StringField(default="none")
    #: ``all`` or ``any`` of the rows.
    combine = StringField(default=ALL)
    filter_rows = FieldList(FormField(FilterRowForm), max_entries=MAX_CONDITIONS + 2 * _SPARE_ROWS)
    more_conditions = BooleanField()
    filter_json = TextAreaField()
    #: Test the filter with an event instead of saving.
    try_filter = BooleanField()
    #: The event type whose example is used, or the id of an event to use instead.
    try_type = StringField(default="license.created")
    try_event = StringField()

    def add_condition_rows(self) -> None:
        """Add empty rows at the end."""
        for _row in range(_SPARE_ROWS):
            if len(self.filter_rows) < MAX_CONDITIONS + _SPARE_ROWS:
                self.filter_rows.append_entry()

    def chosen_filter(self) -> dict[str, Any] | None:
        """Return the filter in the form; ``None`` for none.

        :raises InvalidFilter: it is invalid, or matches everything.
        """
        if self.filter_by.data == "rows":
            given = [(number, _written(row)) for number, row in enumerate(self.filter_rows)]
            rows = [(number, row) for number, row in given if row.path or row.value]
            chosen = filter_from_rows(self.combine.data or ALL, rows)
        elif self.filter_by.data == "json":
            chosen = _object_from(self.filter_json.data or "")
        else:
            return None
        if parse_filter(chosen) is None:
            raise InvalidFilter("Write a condition, or choose to have no filter.")
        return chosen

    def changed_filter(self, stored: dict[str, Any] | None) -> tuple[dict[str, Any] | None, bool]:
        """Return the filter in the form, and whether it differs from the stored one.

        :raises InvalidFilter: as `chosen_filter`.
        """
        chosen = self.chosen_filter()
        # A filter that rows can show may have been written differently; unchanged rows keep it.
        return chosen, chosen not in (stored, _as_rows_say(stored))

    def show_filter(self, stored: dict[str, Any] | None) -> None:
        """Put a stored filter into the form: as rows if possible, else as JSON."""
        if stored is None:
            return
        self.filter_json.data = json.dumps(stored, ensure_ascii=False, indent=2)
        found = rows_from_filter(stored)
        self.filter_by.data = "json" if found is None else "rows"
        if found is not None:
            self.combine.data, rows = found
            for row in rows:
                self.filter_rows.append_entry(asdict(row))

    def place_in_filter(self, error: InvalidFilter) -> str:
        """Return the name of the invalid field."""
        if self.filter_by.data == "json":
            return "filter_json"
        if not isinstance(error, FaultyRow):
            return "filter_by"
        return str(self.filter_rows[error.row].form[error.part].name)


def _written(row: Any) -> FilterRow:
    values = [(row.form[name].data or "").strip() for name in ("path", "operator", "value")]
    return FilterRow(*values)


def _as_rows_say(stored: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return a stored filter in the form that unchanged rows have."""
    found = rows_from_filter(stored)
    if stored is None or found is None:
        return stored
    combine, rows = found
    return filter_from_rows(combine, list(enumerate(rows)))


def _object_from(text: str) -> Any:
    """:raises InvalidFilter: it is not JSON."""
    if not text.strip():
        return None

    def refuse(constant: str) -> Any:
        raise ValueError(f"JSON has no {constant}")

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise InvalidFilter("This is not JSON: %(why)s", why=str(error)) from None
