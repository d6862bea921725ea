"""Filters as rows of a form, one condition per row, as far as possible."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidFilter
from ..filters.clauses import Clause, Comparison, Conjunction, Disjunction, MemberClauses, Operator
from ..filters.notation import parse_filter
from .i18n import gettext as _

#: How to combine the rows.
ALL, ANY = "all", "any"

#: The operator in the notation for each choice of a row.
_OPERATORS = {
    "is": Operator.IS,
    "is_not": Operator.NOT_EQUAL,
    "less": Operator.LESS,
    "at_most": Operator.AT_MOST,
    "at_least": Operator.AT_LEAST,
    "greater": Operator.GREATER,
    "one_of": Operator.IN,
    "none_of": Operator.NOT_IN,
    "contains": Operator.IN,
    "contains_not": Operator.NOT_IN,
    "starts_with": Operator.STARTS_WITH,
    "ends_with": Operator.ENDS_WITH,
    "exists": Operator.EXISTS,
    "exists_not": Operator.EXISTS,
}
_LISTS = ("one_of", "none_of")
_TEXTS = ("contains", "contains_not", "starts_with", "ends_with")
_PRESENCE = {"exists": True, "exists_not": False}


@dataclass(frozen=True, slots=True)
class FilterRow:
    """One condition on a member of the data."""

    #: ``license.plan``.
    path: str
    #: A choice of `operator_choices`.
    operator: str
    #: As a person writes it.
    value: str = ""


class FaultyRow(InvalidFilter):
    """A row is invalid.

    :ivar row: its number, from 0.
    :ivar part: ``path`` or ``value``.
    """

    def __init__(
        self, message: str | None = None, *, row: int = 0, part: str = "value", **values: Any
    ) -> None:
        super().__init__(message, **values)
        self.row = row
        self.part = part


def operator_choices() -> list[tuple[str, str]]:
    """Return the choices of a row with their labels."""
    return [
        ("is", _("is")),
        ("is_not", _("is not")),
        ("less", _("is less than")),
        ("at_most", _("is at most")),
        ("at_least", _("is at least")),
        ("greater", _("is greater than")),
        ("one_of", _("is one of")),
        ("none_of", _("is none of")),
        ("contains", _("contains")),
        ("contains_not", _("does not contain")),
        ("starts_with", _("starts with")),
        ("ends_with", _("ends with")),
        ("exists", _("exists")),
        ("exists_not", _("does not exist")),
    ]


def filter_from_rows(combine: str, rows: Sequence[tuple[int, FilterRow]]) -> dict[str, Any] | None:
    """Return the filter of rows; ``None`` without rows.

    :param rows: with their numbers in the form.
    :raises InvalidFilter: a row is invalid.
    """
    parts = [(number, row, _written(number, row)) for number, row in rows]
    for number, _row, (path, value) in parts:
        try:
            parse_filter({"data": _nested(path, value)})
        except InvalidFilter as error:
            raise FaultyRow(error.text, row=number, path=error.path) from None
    conditions = [{"data": _nested(path, value)} for _number, _row, (path, value) in parts]
    if len(conditions) < 2:
        return conditions[0] if conditions else None
    return {"$or": conditions} if combine == ANY else _merged([part for _n, _r, part in parts])


def rows_from_filter(filter: Any) -> tuple[str, list[FilterRow]] | None:
    """Return the rows of a stored filter, and how to combine them; ``None`` if rows cannot express it."""
    try:
        clause = parse_filter(filter)
    except InvalidFilter:
        return None
    if clause is None:
        return ALL, []
    if isinstance(clause, Disjunction):
        alternatives = [_rows_of(inner, ()) for inner in clause.clauses]
        if all(rows is not None and len(rows) == 1 for rows in alternatives):
            return ANY, [row for rows in alternatives for row in rows or ()]
        return None
    found = _rows_of(clause, ())
    return None if found is None else (ALL, found)


def _written(number: int, row: FilterRow) -> tuple[list[str], Any]:
    """Return the path of a row, and its condition in the notation."""
    if not row.path:
        raise FaultyRow("Enter the member of the data to compare.", row=number, part="path")
    path = row.path.split(".")
    if not all(path) or any(name.startswith("$") for name in path):
        raise FaultyRow(
            "Separate the names of members with dots, such as license.plan.",
            row=number,
            part="path",
        )
    operator = _OPERATORS.get(row.operator)
    if operator is None:
        raise FaultyRow("Choose a comparison.", row=number)
    if row.operator in _PRESENCE:
        return path, {operator.value: _PRESENCE[row.operator]}
    if not row.value:
        raise FaultyRow("Enter a value to compare with.", row=number)
    if row.operator in _TEXTS:
        return path, {operator.value: row.value}
    if row.operator in _LISTS:
        return path, {operator.value: _list_from(row.value, number)}
    value = _scalar_from(row.value)
    return path, value if operator == Operator.IS else {operator.value: value}


def _scalar_from(text: str) -> Any:
    """Return the value of a text: ``100``, ``true`` and ``null`` are not texts, ``"100"`` is one."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text if isinstance(value, list | dict) else value


def _list_from(text: str, number: int) -> list[Any]:
    if text.startswith("["):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, list):
            return value
        raise FaultyRow('Enter a list such as pro, max or ["pro", "max"].', row=number)
    return [_scalar_from(part.strip()) for part in text.split(",") if part.strip()]


def _nested(path: Sequence[str], value: Any) -> Any:
    for name in reversed(path):
        value = {name: value}
    return value


def _merged(parts: Sequence[tuple[list[str], Any]]) -> dict[str, Any]:
    """Merge conditions into one object, unless two of them are about the same member."""
    together: dict[str, Any] = {}
    apart: list[dict[str, Any]] = []
    for path, value in parts:
        if path[0] in together:
            apart.append({"data": _nested(path, value)})
        else:
            together |= _nested(path, value)
    return {"data": together, "$and": apart} if apart else {"data": together}


def _rows_of(clause: Clause, path: tuple[str, ...]) -> list[FilterRow] | None:
    """Return rows that must all match; ``None`` if there are none."""
    match clause:
        case Comparison():
            row = _row_of(clause, path)
            return None if row is None else [row]
        # In nested objects, one element of a list has to meet all conditions, which rows cannot express.
        case MemberClauses() if len(clause.members) == 1 or len(path) < 2:
            inner = [_rows_of(value, (*path, name)) for name, value in clause.members]
        case Conjunction():
            inner = [_rows_of(value, path) for value in clause.clauses]
        case _:
            return None
    return None if None in inner else [row for rows in inner for row in rows or ()]


def _row_of(condition: Comparison, path: tuple[str, ...]) -> FilterRow | None:
    names, operand = path[1:], condition.operand
    if path[:1] != ("data",) or not names or any("." in name or not name for name in names):
        return None
    joined = ".".join(names)
    match condition.operator:
        case Operator.IS | Operator.EQUAL if not isinstance(operand, list | dict):
            return FilterRow(joined, "is", _shown(operand))
        case Operator.EXISTS:
            return FilterRow(joined, "exists" if operand else "exists_not")
        case Operator.IN | Operator.NOT_IN if isinstance(operand, list):
            choice = "one_of" if condition.operator == Operator.IN else "none_of"
            return FilterRow(joined, choice, _shown_list(operand))
    if isinstance(operand, list | dict):
        return None
    is_text = isinstance(operand, str) and operand == operand.strip()
    for choice, operator in _OPERATORS.items():
        if operator == condition.operator and choice not in _LISTS:
            if choice in _TEXTS:
                return FilterRow(joined, choice, operand) if is_text else None
            return FilterRow(joined, choice, _shown(operand))
    return None


def _shown(value: Any) -> str:
    """Return the text that `_scalar_from` reads as this value."""
    plain = isinstance(value, str) and value == value.strip() and _scalar_from(value) == value
    return value if plain and value else json.dumps(value, ensure_ascii=False)


def _shown_list(values: list[Any]) -> str:
    shown = [_shown(value) for value in values]
    text = ", ".join(shown)
    return text if _list_from(text, 0) == values else json.dumps(values, ensure_ascii=False)
