"""The choices of event types in a form: under headings, with prefixes that include future types."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..catalog.registry import Catalog, matches
from .i18n import catalog_text
from .i18n import gettext as _


@dataclass(frozen=True, slots=True)
class Choice:
    """One checkbox."""

    #: A name, ``license.created``, or a prefix, ``license.*``.
    pattern: str
    description: str
    high_volume: bool = False
    deprecated: bool = False

    @property
    def covers_group(self) -> bool:
        return self.pattern.endswith("*")


@dataclass(frozen=True, slots=True)
class ChoiceGroup:
    """The checkboxes under one heading."""

    title: str
    choices: list[Choice] = field(default_factory=list)


def choice_groups(catalog: Catalog, chosen: Iterable[str] = ()) -> list[ChoiceGroup]:
    """Return all choices.

    :param chosen: the subscriptions of an endpoint; those that the catalogue does not offer are in a last group,
        so that saving the form keeps them.
    """
    groups: list[ChoiceGroup] = []
    offered: set[str] = set()
    subscribable = [kind.name for kind in catalog if kind.subscribable]
    for title, kinds in catalog.groups(subscribable_only=True).items():
        group = ChoiceGroup(catalog_text(title))
        for prefix in dict.fromkeys(f"{kind.name.partition('.')[0]}.*" for kind in kinds):
            if prefix not in offered and _covers_several(prefix, subscribable):
                description = _(
                    "All that begin with “%(prefix)s”, including future ones", prefix=prefix[:-1]
                )
                group.choices.append(Choice(prefix, description))
        group.choices.extend(
            Choice(kind.name, catalog_text(kind.description), kind.high_volume, kind.deprecated)
            for kind in kinds
        )
        offered |= {choice.pattern for choice in group.choices}
        groups.append(group)
    rest = [pattern for pattern in dict.fromkeys(chosen) if pattern not in offered]
    if rest:
        groups.append(ChoiceGroup(_("Others"), [Choice(pattern, "") for pattern in rest]))
    return groups


def _covers_several(prefix: str, names: Sequence[str]) -> bool:
    return sum(matches([prefix], name) for name in names) > 1
