"""The catalogue of event types, the patterns that subscribe to it, and the errors of both."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
import pytest

from flask_webhooks import errors
from flask_webhooks.catalog.registry import Catalog, EventType, builtin_catalog, matches
from flask_webhooks.errors import (
    InvalidEventType,
    InvalidInput,
    InvalidSubscription,
    UnknownEventType,
    WebhooksError,
)

TRANSACTIONAL = [
    "license.created",
    "license.activated",
    "license.expiring",
    "license.expired",
    "license.revoked",
    "license.reinstated",
    "license.deleted",
    "license.renewed",
    "license.suspended",
    "license.updated",
    "license.checked_out",
    "license.check_in_overdue",
    "usage.threshold_reached",
    "user.registered",
    "user.banned",
    "user.unbanned",
    "user.deleted",
    "hwid.bound",
    "hwid.changed",
    "hwid.reset",
    "device.heartbeat_missed",
    "file.uploaded",
    "file.updated",
    "blacklist.added",
    "blacklist.removed",
    "whitelist.added",
    "whitelist.removed",
    "payment.succeeded",
    "staff.acted",
    "seller.acted",
    "verification.succeeded",
    "config.updated",
]

NOT_TRANSACTIONAL = [
    "license.validated",
    "license.rejected",
    "user.logged_in",
    "user.login_failed",
    "session.created",
    "session.ended",
    "hwid.mismatched",
    "file.downloaded",
    "payment.failed",
    "signature.rejected",
    "rate_limit.exceeded",
    "verification.failed",
    "security.alert",
]

OPERATIONAL = ["endpoint.failing", "endpoint.recovered", "endpoint.disabled", "delivery.failed"]

BUILTIN = list(builtin_catalog())


@pytest.fixture
def catalog() -> Catalog:
    return builtin_catalog()


def an_event_type(name: str = "trial.started", **changes: Any) -> EventType:
    values: dict[str, Any] = {
        "group": "Trials",
        "description": "A trial began.",
        "schema": {"type": "object"},
        "example": {"days": 14},
    }
    return EventType(name, **(values | changes))


# -- what is built in ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TRANSACTIONAL)
def test_builtin_type_rides_in_the_hosts_transaction(catalog: Catalog, name: str) -> None:
    assert catalog[name].transactional
    assert not catalog[name].operational


@pytest.mark.parametrize("name", NOT_TRANSACTIONAL)
def test_builtin_type_is_written_whatever_becomes_of_the_transaction(
    catalog: Catalog, name: str
) -> None:
    assert not catalog[name].transactional


@pytest.mark.parametrize("name", OPERATIONAL)
def test_builtin_type_about_webhooks_is_operational_and_subscribable(
    catalog: Catalog, name: str
) -> None:
    assert catalog[name].operational
    assert catalog.check_patterns([name]) == [name]


def test_nothing_else_is_built_in(catalog: Catalog) -> None:
    names = [event_type.name for event_type in catalog]
    assert sorted(names) == sorted(
        [*TRANSACTIONAL, *NOT_TRANSACTIONAL, *OPERATIONAL, "test", "webhook.challenge"]
    )
    assert len(catalog) == len(names)


def test_types_that_any_client_can_cause_are_marked_high_volume(catalog: Catalog) -> None:
    assert {event_type.name for event_type in catalog if event_type.high_volume} == {
        "license.validated",
        "license.rejected",
        "user.logged_in",
        "user.login_failed",
        "session.created",
        "session.ended",
        "file.downloaded",
        "signature.rejected",
        "rate_limit.exceeded",
    }


@pytest.mark.parametrize("event_type", BUILTIN, ids=lambda event_type: event_type.name)
def test_example_is_valid_against_its_schema(event_type: EventType) -> None:
    validator = jsonschema.Draft202012Validator
    validator.check_schema(event_type.schema)
    validator(event_type.schema, format_checker=validator.FORMAT_CHECKER).validate(
        event_type.example
    )


@pytest.mark.parametrize("event_type", BUILTIN, ids=lambda event_type: event_type.name)
def test_schema_refuses_data_without_a_required_member(event_type: EventType) -> None:
    validator = jsonschema.Draft202012Validator(event_type.schema)
    assert event_type.schema["required"]
    for name in event_type.schema["required"]:
        data = {key: value for key, value in event_type.example.items() if key != name}
        assert not validator.is_valid(data)


@pytest.mark.parametrize("event_type", BUILTIN, ids=lambda event_type: event_type.name)
def test_schema_admits_members_of_the_hosts_own(event_type: EventType) -> None:
    jsonschema.validate({**event_type.example, "colour": "green"}, event_type.schema)


@pytest.mark.parametrize("event_type", BUILTIN, ids=lambda event_type: event_type.name)
def test_every_example_in_the_schema_is_valid_itself(event_type: EventType) -> None:
    validator = jsonschema.Draft202012Validator
    for path, schema, _ in walk(event_type.schema, event_type.example):
        for example in schema.get("examples", []):
            errors = list(
                validator(schema, format_checker=validator.FORMAT_CHECKER).iter_errors(example)
            )
            assert not errors, path


@pytest.mark.parametrize("event_type", BUILTIN, ids=lambda event_type: event_type.name)
def test_every_member_of_an_example_is_described(event_type: EventType) -> None:
    for path, schema, value in walk(event_type.schema, event_type.example):
        assert schema["type"], path
        assert schema["description"].endswith("."), path
        if not isinstance(value, dict) or "properties" not in schema:
            assert value in schema["examples"], path


@pytest.mark.parametrize("event_type", BUILTIN, ids=lambda event_type: event_type.name)
def test_every_member_of_a_schema_is_in_the_example(event_type: EventType) -> None:
    assert list(event_type.schema["properties"]) == list(event_type.example)


@pytest.mark.parametrize("event_type", BUILTIN, ids=lambda event_type: event_type.name)
def test_description_is_one_sentence_for_customers(event_type: EventType) -> None:
    assert event_type.description[0].isupper()
    assert event_type.description.endswith(".")
    assert ". " not in event_type.description


@pytest.mark.parametrize(
    ("name", "members"),
    [
        # authon's page shows these four bodies; the others show one generic body each.
        ("user.logged_in", ["user_id", "username", "ip", "hwid"]),
        ("user.registered", ["user_id", "username", "license_key", "ip"]),
        (
            "license.activated",
            ["license_id", "license_key", "duration_type", "level", "activated_by"],
        ),
        ("user.banned", ["user_id", "username", "reason", "banned_by"]),
        ("license.validated", ["license_id", "file_id", "hwid", "ip", "license_key", "status"]),
        ("verification.succeeded", ["user", "verification"]),
        ("verification.failed", ["user", "verification", "failure"]),
        ("security.alert", ["threat"]),
        ("config.updated", ["change"]),
    ],
)
def test_type_has_the_members_that_the_vendors_formats_send(
    catalog: Catalog, name: str, members: list[str]
) -> None:
    assert set(members) <= catalog[name].example.keys()


def test_nested_members_are_those_of_the_akuworks_page(catalog: Catalog) -> None:
    succeeded, failed = catalog["verification.succeeded"], catalog["verification.failed"]
    assert list(succeeded.example["user"]) == ["id", "username", "discriminator"]
    assert list(succeeded.example["verification"]) == [
        "method",
        "ip",
        "location",
        "user_agent",
        "duration_ms",
    ]
    assert list(failed.example["failure"]) == ["reason", "code", "detection_method"]
    assert list(catalog["security.alert"].example["threat"]) == [
        "type",
        "severity",
        "details",
        "recommended_actions",
        "affected_ip_ranges",
    ]
    assert list(catalog["config.updated"].example["change"]) == [
        "settings",
        "previous",
        "new",
        "changed_by",
        "changed_at",
    ]


def walk(
    schema: Mapping[str, Any], value: Any, path: str = "data"
) -> Iterator[tuple[str, Mapping[str, Any], Any]]:
    """Each member of `value` with its schema."""
    for name, item in value.items():
        member = schema["properties"][name]
        yield f"{path}.{name}", member, item
        if "properties" in member:
            yield from walk(member, item, f"{path}.{name}")


# -- the catalogue ---------------------------------------------------------------------------------


def test_each_catalogue_is_its_own(catalog: Catalog) -> None:
    catalog.add(an_event_type())
    assert "trial.started" in catalog
    assert "trial.started" not in builtin_catalog()


def test_added_type_comes_last_and_joins_its_group(catalog: Catalog) -> None:
    added = catalog.add(an_event_type("license.gifted", group="Licences"))
    assert [*catalog][-1] is added
    assert catalog["license.gifted"] is added
    assert catalog.groups()["Licences"][-1] is added


def test_groups_keep_catalogue_order_and_lose_no_type(catalog: Catalog) -> None:
    groups = catalog.groups()
    assert [event_type for group in groups.values() for event_type in group] == list(catalog)
    assert next(iter(groups)) == "Licences"
    assert list(groups)[-1] == "Test"


def test_groups_for_a_form_leave_out_what_cannot_be_subscribed_to(catalog: Catalog) -> None:
    assert "Test" not in catalog.groups(subscribable_only=True)


def test_event_types_can_be_put_into_a_set(catalog: Catalog) -> None:
    assert len(set(catalog)) == len(catalog)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("License.created", "lower-case"),
        ("license created", "joined by dots"),
        ("license-created.now", "underscores"),
        ("license..created", "segments"),
        (".license", "segments"),
        ("license.", "segments"),
        ("license.created\n", "segments"),
        ("lizenz.geprüft", "segments"),
        ("", "segments"),
        ("license.*", "segments"),
        (None, "segments"),
        ("license", "'license.created'"),
        ("a." + "b" * 99, "at most 100"),
    ],
)
def test_bad_name_is_refused_with_what_to_write(catalog: Catalog, name: Any, hint: str) -> None:
    with pytest.raises(InvalidEventType, match=hint.replace(".", r"\.")):
        catalog.add(an_event_type(name))


@pytest.mark.parametrize("name", ["a.b", "app_2.order.line_item.added", "a." + "b" * 98])
def test_good_name_is_accepted(catalog: Catalog, name: str) -> None:
    assert catalog.add(an_event_type(name)).name == name


def test_taken_name_is_refused(catalog: Catalog) -> None:
    with pytest.raises(InvalidEventType, match=r"'my_app\.license\.created'"):
        catalog.add(an_event_type("license.created"))


@pytest.mark.parametrize("attribute", ["group", "description"])
def test_empty_text_is_refused(catalog: Catalog, attribute: str) -> None:
    with pytest.raises(InvalidEventType, match=f"needs a {attribute}"):
        catalog.add(an_event_type(**{attribute: " "}))


@pytest.mark.parametrize("value", [{"at": object()}, {"x": float("nan")}, {(1, 2): 3}, ["a"], "a"])
@pytest.mark.parametrize("attribute", ["schema", "example"])
def test_what_is_no_json_object_is_refused(catalog: Catalog, attribute: str, value: Any) -> None:
    with pytest.raises(InvalidEventType, match=f"The {attribute} of .* (use only|must be a) dict"):
        catalog.add(an_event_type(**{attribute: value}))


def test_example_that_contains_itself_is_refused(catalog: Catalog) -> None:
    example: dict[str, Any] = {}
    example["again"] = example
    with pytest.raises(InvalidEventType, match="is not JSON"):
        catalog.add(an_event_type(example=example))


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("license.create", "license.created"),
        ("licence.created", "license.created"),
        ("LICENSE.CREATED", "license.created"),
        ("hwid.mismatch", "hwid.mismatched"),
        ("user.login", "user.logged_in"),
    ],
)
def test_unknown_name_is_answered_with_close_ones(
    catalog: Catalog, name: str, suggestion: str
) -> None:
    with pytest.raises(UnknownEventType, match=f"Did you mean .*{suggestion}") as caught:
        catalog[name]
    assert "webhooks.add_event_type" in str(caught.value)
    assert name in str(caught.value)


def test_name_unlike_any_other_gets_no_suggestion(catalog: Catalog) -> None:
    with pytest.raises(UnknownEventType) as caught:
        catalog["zzzz.qqqq"]
    assert "Did you mean" not in str(caught.value)


# -- subscriptions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patterns", "normalised"),
    [
        (None, None),
        (["*"], None),
        (["license.created", "*"], None),
        (["license.created"], ["license.created"]),
        (["license.*", "user.banned"], ["license.*", "user.banned"]),
        (["user.banned", "license.*", "user.banned"], ["user.banned", "license.*"]),
        ([" license.created ", "license.created"], ["license.created"]),
        (("hwid.*",), ["hwid.*"]),
        ((name for name in ["file.*"]), ["file.*"]),
        (["endpoint.*", "delivery.failed"], ["endpoint.*", "delivery.failed"]),
    ],
)
def test_subscription_is_normalised(
    catalog: Catalog, patterns: Any, normalised: list[str] | None
) -> None:
    assert catalog.check_patterns(patterns) == normalised


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ([], r'leave the list out or write \["\*"\]'),
        ("license.*", r"write \['license\.\*'\] instead of 'license\.\*'"),
        (7, r'must be a list: write \["license\.created"\]'),
        ({"license.created": True}, "must be a list"),
        ([7], "7 is not the name of an event type"),
        ([["license.created"]], "write text"),
        (["license.create"], r"Did you mean license\.created"),
        (["license"], r"Did you mean license\.\*\?"),
        (["license.created", "license.gone"], "no event type 'license.gone'"),
        (["licence.*"], r"begins with 'licence\.'\. Did you mean license\.\*"),
        (["License.*"], r"Did you mean license\.\*\?"),
        (["license.created.*"], r"begins with 'license\.created\.'"),
        (["lic*"], r'after the last dot, as in "license\.\*"'),
        (["*.created"], "after the last dot"),
        (["license.*.created"], "after the last dot"),
        (["**"], "after the last dot"),
        ([".*"], "after the last dot"),
        ([""], "no event type ''"),
        (["test"], "Leave it out"),
        (["test.*"], r"No event type begins with 'test\.'"),
    ],
)
def test_bad_subscription_is_refused_with_what_to_write(
    catalog: Catalog, patterns: Any, message: str
) -> None:
    with pytest.raises(InvalidSubscription, match=message) as caught:
        catalog.check_patterns(patterns)
    assert caught.value.field == "events"


def test_subscription_may_name_a_type_that_the_host_added(catalog: Catalog) -> None:
    catalog.add(an_event_type("trial.mail.opened"))
    patterns = ["trial.mail.opened", "trial.mail.*", "trial.*"]
    assert catalog.check_patterns(patterns) == patterns


@pytest.mark.parametrize(
    ("patterns", "name", "expected"),
    [
        (None, "license.created", True),
        (None, "test", True),
        (["*"], "license.created", True),
        ([], "license.created", False),
        (["license.created"], "license.created", True),
        (["license.created"], "license.created_twice", False),
        (["license.created"], "license", False),
        (["license.*"], "license.created", True),
        (["license.*"], "license.hwid.bound", True),
        (["license.hwid.*"], "license.hwid.bound", True),
        (["license.hwid.*"], "license.created", False),
        (["license.*"], "license", False),
        (["license.*"], "licenses.created", False),
        (["license.*"], "my.license.created", False),
        (["user.*", "license.created"], "license.created", True),
        (["test"], "test", True),
    ],
)
def test_patterns_match(patterns: list[str] | None, name: str, expected: bool) -> None:
    assert matches(patterns, name) is expected


# -- errors ----------------------------------------------------------------------------------------

ERRORS = [
    error
    for error in vars(errors).values()
    if isinstance(error, type) and issubclass(error, WebhooksError)
]


@pytest.mark.parametrize("error", ERRORS)
def test_error_without_a_message_says_what_its_docstring_says(error: type[WebhooksError]) -> None:
    assert error.__doc__ is not None
    assert str(error()) == error.__doc__.partition("\n\n")[0].replace("\n    ", " ")
    assert error("Do that instead.").message == "Do that instead."


@pytest.mark.parametrize("error", ERRORS)
def test_error_is_drawn_in_the_tree(error: type[WebhooksError]) -> None:
    assert errors.__doc__ is not None
    lines = [line for line in errors.__doc__.splitlines() if error.__name__ in line.split()]
    assert len(lines) == 1
    # Four columns for each step away from the root.
    depth = len([base for base in error.__mro__ if issubclass(base, WebhooksError)]) - 1
    assert lines[0].index(error.__name__) == 4 + 4 * depth


@pytest.mark.parametrize("error", ERRORS)
def test_error_survives_pickling_with_its_attributes(error: type[WebhooksError]) -> None:
    original = error("Do that instead.")
    for attribute in vars(original):
        setattr(original, attribute, "changed")
    copy = pickle.loads(pickle.dumps(original))
    assert type(copy) is error
    assert str(copy) == str(original)
    assert vars(copy) == vars(original)


def test_input_error_names_the_field_of_a_form() -> None:
    assert errors.InvalidURL("x").field == "url"
    assert errors.BlockedAddress("x", address="10.0.0.7", reason="private network").field == "url"
    assert errors.InvalidEndpoint("x").field is None
    assert errors.InvalidEndpoint("x", field="user_agent").field == "user_agent"
    assert issubclass(errors.InvalidSecret, InvalidInput)


def test_errors_can_be_caught_as_the_builtin_ones_they_refine() -> None:
    assert issubclass(errors.ConfigurationError, ValueError)
    assert issubclass(UnknownEventType, ValueError)
    assert issubclass(errors.NotFound, LookupError)


def test_catalogue_is_plain_json() -> None:
    for event_type in BUILTIN:
        assert json.loads(json.dumps(event_type.example)) == event_type.example
        assert json.loads(json.dumps(event_type.schema)) == event_type.schema


@pytest.mark.parametrize(
    "given",
    [
        "x" * 100_000,
        ["x" * 100_000],
        ["license." * 10_000 + "*"],
        ["*" * 100_000],
        [{"x" * 100_000}],
    ],
)
def test_refusal_repeats_only_the_beginning_of_what_was_given(given: Any) -> None:
    with pytest.raises(InvalidSubscription) as caught:
        builtin_catalog().check_patterns(given)
    assert len(caught.value.message) < 400


def test_refusal_of_what_is_deep_is_one() -> None:
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(InvalidSubscription, match="is not the name of an event type"):
        builtin_catalog().check_patterns([deep])
