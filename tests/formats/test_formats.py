"""What holds for every format, and the formats that are our own: standard, CloudEvents, custom."""

from __future__ import annotations

import dataclasses
import json
import timeit
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook

from flask_webhooks.catalog.registry import builtin_catalog
from flask_webhooks.encoding import encode_data
from flask_webhooks.errors import (
    ConfigurationError,
    InvalidEndpoint,
    InvalidInput,
    InvalidSecret,
    InvalidURL,
)
from flask_webhooks.formats import (
    Format,
    HexSigned,
    OutgoingEvent,
    Rendered,
    Target,
    builtin_formats,
)
from flask_webhooks.formats.cloudevents import CloudEvents
from flask_webhooks.formats.custom import (
    MAX_BODY_BYTES,
    MAX_PLACEHOLDERS,
    MAX_TEMPLATE_BYTES,
    Custom,
    check_template,
)
from flask_webhooks.formats.examples import EXAMPLE_SECRET, render_examples
from flask_webhooks.formats.standard import Standard
from flask_webhooks.receiver import SIGNED_FORMATS, verify
from flask_webhooks.security.signing import sign_hex

FORMATS = {item.name: item for item in builtin_formats()}
CATALOG = builtin_catalog()
NOW = datetime(2026, 1, 31, 12, 0, 5, tzinfo=UTC)
OCCURRED = datetime(2026, 1, 31, 12, 0, 0, 123000, tzinfo=UTC)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=15,
)
#: Members that formats look at, with anything in them, beside any others.
data = st.dictionaries(
    st.sampled_from(
        ["license_id", "license_key", "hwid", "username", "user", "reason", "event", "signature"]
    )
    | texts,
    values,
    max_size=8,
)


def event_of(
    content: Any = None, *, type: str = "license.created", tenant: str | None = "app_1"
) -> OutgoingEvent:
    text = encode_data({"license_id": "lic_1"} if content is None else content, 10_000_000)
    return OutgoingEvent("evt_1", type, tenant, OCCURRED, text, tenant and f"{tenant} by name")


def target_of(style: Format, **values: Any) -> Target:
    """An endpoint of a format, with its example's URL and options, and a secret."""
    secret = style.generate_secret() if style.signed else None
    url = style.example_url
    target = Target(
        id="ep_1",
        tenant="app_1",
        url=url,
        url_shown=style.mask_url(url),
        format=style.name,
        secrets=(secret,) if secret else (),
        headers={},
        user_agent=None,
        version=1,
        options=style.check_options(style.example_options, url),
        product_name="Acme Licensing",
    )
    return dataclasses.replace(target, **values)


# -- every format -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("style", FORMATS.values(), ids=FORMATS)
@given(
    content=data, kind=st.sampled_from([kind.name for kind in CATALOG]), tenant=st.none() | texts
)
def test_any_data_renders_the_same_valid_bytes_and_verifies(
    style: Format, content: Mapping[str, Any], kind: str, tenant: str | None
) -> None:
    event = event_of(content, type=kind, tenant=tenant)
    target = target_of(style)
    rendered = style.render(event, target, NOW)
    again = style.render(event_of(content, type=kind, tenant=tenant), target, NOW)
    assert rendered == again
    assert style.render(event, target, OCCURRED).body == rendered.body
    body = json.loads(rendered.body, parse_constant=pytest.fail)
    assert json.loads(rendered.body.decode()) == body
    for name, value in rendered.headers.items():
        assert f"{name}{value}".isascii()
        assert f"{name}{value}".isprintable()
    if style.signed:
        assert rendered.headers["webhook-id"] == "evt_1"
        secret = target.secrets[0]
        checked = verify(rendered.headers, rendered.body, secret, style.name, now=NOW.timestamp())
        assert checked == body


@pytest.mark.parametrize("style", FORMATS.values(), ids=FORMATS)
def test_names_are_read_back_and_mean_one_thing(style: Format) -> None:
    theirs = set(style.event_names.values())
    for kind in CATALOG:
        name = style.event_name(kind.name)
        if name in theirs:
            # A name of the vendor's goes out only for what it stands for.
            assert kind.name in style.event_types(name)
        else:
            assert name == kind.name
            assert style.event_types(name) == ()
    for ours in style.event_names:
        assert ours in CATALOG
    for name in theirs:
        assert all(style.event_name(ours) == name for ours in style.event_types(name))


@pytest.mark.parametrize("style", FORMATS.values(), ids=FORMATS)
def test_every_format_says_what_it_is(style: Format) -> None:
    assert style.label
    assert style.test_event in CATALOG
    assert style.timeout is None or 1 <= style.timeout <= 30
    assert style.check_options(style.example_options, style.example_url) is not None
    bucket = style.bucket(style.example_url)
    assert bucket is None or bucket
    if style.signed:
        first, second = style.generate_secret(), style.generate_secret()
        assert first != second
        assert first is not None
        assert style.check_secret(first) == first
        for bad in ("", "x", "ä", " " * 40, "a\n" * 20):
            with pytest.raises(InvalidSecret):
                style.check_secret(bad)
    if style.secret_url:
        assert style.mask_url(style.example_url) != style.example_url


@pytest.mark.parametrize("style", FORMATS.values(), ids=FORMATS)
def test_no_format_takes_options_that_it_does_not_know(style: Format) -> None:
    with pytest.raises(InvalidEndpoint, match="colour") as caught:
        style.check_options({**style.example_options, "colour": "red"}, style.example_url)
    assert caught.value.field == "colour"


def test_every_event_type_has_an_example_in_every_format() -> None:
    examples = list(render_examples(builtin_formats(), CATALOG, product_name="Acme"))
    assert len(examples) == len(FORMATS) * len(CATALOG)
    assert examples == list(render_examples(builtin_formats(), CATALOG, product_name="Acme"))
    for item in examples:
        assert json.loads(item.pretty_body) == json.loads(item.body)
        assert [name.lower() for name in item.headers].count("content-type") == 1
        if FORMATS[item.format].signed:
            moment = datetime(2026, 1, 31, 12, 0, 5, tzinfo=UTC).timestamp()
            verify(item.headers, item.body, EXAMPLE_SECRET, item.format, now=moment)


def test_every_signed_format_can_be_verified() -> None:
    assert {item.name for item in FORMATS.values() if item.signed} <= set(SIGNED_FORMATS)


def test_url_that_no_format_knows_gets_the_default() -> None:
    formats = builtin_formats()
    assert formats.detect("https://shop.example/in", "cloudevents").name == "cloudevents"
    assert formats.detect("https://discord.example/api/webhooks/1/x", "standard").name == "standard"


class Vendor(HexSigned):
    """A format that has other meanings for some of our names."""

    name = "vendor"
    label = "Vendor"
    event_names: ClassVar[Mapping[str, str]] = {
        "license.activated": "license.redeemed",
        "license.reinstated": "license.activated",
        "hwid.bound": "hwid.changed",
        "hwid.changed": "hwid.changed",
    }

    def render(self, event: OutgoingEvent, target: Target, attempted_at: datetime) -> Rendered:
        body = event.data_json.encode()
        signature = self.signature(body, target)
        headers = {} if signature is None else {"x-signature": signature}
        return Rendered(target.url, headers, body)


def test_name_never_goes_out_where_the_vendor_means_something_else() -> None:
    vendor = Vendor()
    assert vendor.event_name("license.activated") == "license.redeemed"
    assert vendor.event_name("license.reinstated") == "license.activated"
    assert vendor.event_name("license.created") == "license.created"
    # A type of the host's own that happens to be called as the vendor's.
    assert vendor.event_name("license.redeemed") == "other.license.redeemed"
    assert vendor.event_types("hwid.changed") == ("hwid.bound", "hwid.changed")
    assert vendor.event_types("license.created") == ()


def test_format_with_room_for_one_signature_signs_by_the_old_secret_until_the_overlap_ends() -> (
    None
):
    vendor = Vendor()
    both = target_of(vendor, secrets=("the new one", "the old one"))
    rendered = vendor.render(event_of(), both, NOW)
    assert rendered.headers["x-signature"] == sign_hex(rendered.body, b"the old one")
    after = dataclasses.replace(both, secrets=("the new one",))
    assert vendor.render(event_of(), after, NOW).headers["x-signature"] == sign_hex(
        rendered.body, b"the new one"
    )
    without = dataclasses.replace(both, secrets=())
    assert vendor.render(event_of(), without, NOW).headers == {}


@pytest.mark.parametrize(
    "secret", ["12345678", "whsec_your_secret_here", "mit Umlaut ä ö", "x" * 256]
)
def test_secret_of_a_vendor_is_any_text(secret: str) -> None:
    assert Vendor().check_secret(secret) == secret


@pytest.mark.parametrize(
    ("secret", "message"),
    [
        ("1234567", "8 to 256 characters, not 7"),
        ("x" * 257, "not 257"),
        ("twelve\tchars", "control characters"),
        ("`in quotation marks`", "quotation marks"),
        ("whsk_" + "A" * 43, "private key"),
    ],
)
def test_secret_of_a_vendor_that_is_not_usable(secret: str, message: str) -> None:
    with pytest.raises(InvalidSecret, match=message) as caught:
        Vendor().check_secret(secret)
    assert secret not in str(caught.value)


def test_two_formats_cannot_have_one_name() -> None:
    formats = builtin_formats()
    with pytest.raises(ConfigurationError, match="already a format named 'standard'"):
        formats.add(Standard())


# -- exports of other services ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"url": "https://x.example/"}, {"events": None, "secret": None}),
        (
            {"url": "https://x.example/", "events": ["a", "b"], "secret": "s", "enabled": False},
            {"events": ["a", "b"], "secret": "s", "active": False},
        ),
        # A column of a database: JSON in text, numbers for booleans.
        (
            {"url": "https://x.example/", "events": '["key.used"]', "is_active": 1, "name": "N"},
            {"events": ["key.used"], "secret": None, "active": True, "name": "N"},
        ),
        (
            {"url": "https://x.example/", "events": "key.used"},
            {"events": ["key.used"], "secret": None},
        ),
    ],
)
def test_usual_export(item: dict[str, Any], expected: dict[str, Any]) -> None:
    assert Standard().read_export(item) == {"url": "https://x.example/", **expected}


@pytest.mark.parametrize(
    ("item", "error", "message"),
    [
        ({}, InvalidURL, 'no "url"'),
        ({"url": 7}, InvalidURL, 'no "url"'),
        ({"url": "u", "events": {"a": 1}}, InvalidInput, "list of names"),
        ({"url": "u", "events": [1]}, InvalidInput, "list of names"),
        ({"url": "u", "active": "yes"}, InvalidEndpoint, "neither true nor false"),
        ({"url": "u", "secret": 1}, InvalidSecret, "not text"),
        ({"url": "u", "name": []}, InvalidEndpoint, '"name" is not text'),
    ],
)
def test_export_that_cannot_be_read(
    item: dict[str, Any], error: type[InvalidInput], message: str
) -> None:
    with pytest.raises(error, match=message):
        Standard().read_export(item)


# -- Standard Webhooks --------------------------------------------------------------------------------


def test_rotation_of_a_standard_endpoint_is_taken_with_both_secrets() -> None:
    style = Standard()
    target = target_of(style, secrets=(style.generate_secret(), style.generate_secret()))
    rendered = style.render(event_of(), target, datetime.now(UTC))
    for secret in target.secrets:
        assert Webhook(secret).verify(rendered.body, rendered.headers)["type"] == "license.created"


def test_key_pair_and_shared_secret_sign_side_by_side() -> None:
    style = Standard()
    pair, shared = style.generate_key_pair(), style.generate_secret()
    rendered = style.render(event_of(), target_of(style, secrets=(pair, shared)), NOW)
    first, second = rendered.headers["webhook-signature"].split()
    assert first.startswith("v1a,")
    assert second.startswith("v1,")
    public = style.public_key(pair)
    assert public is not None
    assert public.startswith("whpk_")
    assert style.public_key(shared) is None
    for known in (public, shared):
        verify(rendered.headers, rendered.body, known, now=NOW.timestamp())


# -- CloudEvents --------------------------------------------------------------------------------------


def test_cloud_event_in_structured_mode() -> None:
    style = CloudEvents()
    rendered = style.render(event_of({"b": 1, "a": 1.0}), target_of(style, options={}), NOW)
    assert rendered.headers["Content-Type"] == "application/cloudevents+json; charset=utf-8"
    assert rendered.body.decode() == (
        '{"specversion":"1.0","id":"evt_1","source":"/Acme%20Licensing","type":"license.created",'
        '"time":"2026-01-31T12:00:00.123Z","datacontenttype":"application/json","tenant":"app_1",'
        '"data":{"b":1,"a":1.0}}'
    )


def test_cloud_event_without_tenant_has_no_such_attribute() -> None:
    body = CloudEvents().render(event_of(tenant=None), target_of(CloudEvents()), NOW).body
    assert "tenant" not in json.loads(body)
    assert json.loads(body)["source"] == "https://licences.example/webhooks"


@pytest.mark.parametrize("source", ["with spaces", "ä", 7, "x" * 201, "100%", "<>"])
def test_source_that_is_no_uri_is_refused(source: Any) -> None:
    with pytest.raises(InvalidEndpoint, match="source") as caught:
        CloudEvents().check_options({"source": source}, "https://x.example/")
    assert caught.value.field == "source"


def test_empty_source_is_the_default() -> None:
    assert CloudEvents().check_options({"source": ""}, "https://x.example/") == {}


# -- custom -------------------------------------------------------------------------------------------


def fill(template: Any, content: Any = None, **more: Any) -> Any:
    style = Custom()
    options = style.check_options({"template": template}, "https://x.example/")
    rendered = style.render(event_of(content, **more), target_of(style, options=options), NOW)
    assert len(rendered.body) <= MAX_BODY_BYTES
    return json.loads(rendered.body)


CONTENT = {
    "license_id": "lic_1",
    "level": 3,
    "price": 1.5,
    "trial": False,
    "none": None,
    "user": {"name": 'Ann "the man"', "tags": ["a", {"b": 2}]},
    "first-name": "x",
}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ data.level }}", 3),
        ("{{data.price}}", 1.5),
        ("{{ data.trial }}", False),
        ("{{ data.none }}", None),
        ("{{ data.missing.thing }}", None),
        ("{{ data.user }}", CONTENT["user"]),
        ("{{ data }}", CONTENT),
        ("{{ data.user.tags.1.b }}", 2),
        ("{{ data.user.tags.9 }}", None),
        ("{{ data.user.tags.99999999999999999999 }}", None),
        ("{{ data.user.tags.b }}", None),
        ("{{ data.first-name }}", "x"),
        ("level {{ data.level }}, {{ data.trial }}, [{{ data.none }}]", "level 3, false, []"),
        ("{{ data.user.name }}!", 'Ann "the man"!'),
        ("tags: {{ data.user.tags }}", 'tags: ["a",{"b":2}]'),
        (" {{ data.level }}", " 3"),
        ("{{ event.type }} {{ event.id }}", "license.created evt_1"),
        ("{{ event.timestamp }}", "2026-01-31T12:00:00.123Z"),
        ("{{ event.unix }}", 1769860800),
        ("{{ tenant.id }}/{{ tenant.name }}", "app_1/app_1 by name"),
        ("{{ product.name }}", "Acme Licensing"),
    ],
)
def test_placeholders(template: str, expected: Any) -> None:
    assert fill({"a": [template]}, CONTENT) == {"a": [expected]}


def test_what_data_holds_is_never_a_template() -> None:
    evil = {"x": "{{ event.id }}", "__class__": "c"}
    assert fill(["{{ data.x }}", "{{ data.x }}!", "{{ data.__class__ }}"], evil) == [
        "{{ event.id }}",
        "{{ event.id }}!",
        "c",
    ]
    assert fill(["{{ data.x.__class__.__mro__ }}", "{{ data.__init__ }}"], evil) == [None, None]


def test_template_as_text_keeps_its_layout_when_it_is_stored() -> None:
    text = '{\n  "a": "{{ data }}"\n}\n'
    assert check_template(text) == text.strip()
    # What is stored can be checked again, as when the URL changes.
    assert check_template(check_template({"a": ["{{ data }}"]})) == check_template(
        {"a": ["{{ data }}"]}
    )


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "Write a template"),
        ("", "Write a template"),
        ("{{ data }}", "not JSON"),
        ("{", "not JSON"),
        ('{"a": NaN}', "not JSON"),
        ('{"a": 1e999}', "not JSON"),
        ('{"a": "\\ud800"}', "surrogate"),
        ({1, 2}, "not JSON"),
        ({"a": "{{ secret }}"}, r"no \{\{ secret \}\}"),
        ({"a": "{{ event.secret }}"}, "event.id"),
        ({"a": "{{ data.a }} {{ data['x'] }}"}, "names joined by dots"),
        ({"a": "{{ data.a | upper }}"}, "names joined by dots"),
        ({"a": "{{ data.a"}, "names joined by dots"),
        ({"{{ data.a }}": 1}, "names of members"),
        ({"a": "x" * MAX_TEMPLATE_BYTES}, "Shorten it"),
        ("[" * 20 + "]" * 20, "16 deep"),
        ("[" * 8_000 + "]" * 8_000, "not JSON|deep"),
    ],
)
def test_template_that_is_not_usable(template: Any, message: str) -> None:
    with pytest.raises(InvalidEndpoint, match=message) as caught:
        Custom().check_options({"template": template}, "https://x.example/")
    assert caught.value.field == "template"


def test_body_stays_within_its_bounds_whatever_the_template_repeats() -> None:
    large = {"text": 'ä"\\' * 60_000}
    filled = fill(["{{ data }}"] * 500 + ["{{ event.type }}"], large)
    assert filled[0] == large
    assert filled[499] is None
    assert filled[500] == "license.created"
    assert fill(["text: {{ data.text }}"] * 500, large)[-1] == "text: "


def test_a_number_with_leading_zeros_is_no_position_in_a_list() -> None:
    content = {"x": ["a", "b"], "y": {"00": "member"}}
    template = ["{{ data.x.0 }}", "{{ data.x.00 }}", "{{ data.x.01 }}", "{{ data.y.00 }}"]
    assert fill(template, content) == ["a", None, None, "member"]


def test_a_template_names_a_bounded_number_of_values() -> None:
    template = [f"{{{{ data.x{number} }}}}" for number in range(MAX_PLACEHOLDERS)]
    assert fill([*template, template[0]], {"x0": 1})[-1] == 1
    with pytest.raises(InvalidEndpoint, match="at most 200 different"):
        check_template([*template, "{{ data.one_more }}"])


@pytest.mark.parametrize("shape", ["aliases", "nested", "nested texts"])
def test_rendering_takes_a_bounded_time_whatever_the_template_names(shape: str) -> None:
    rows: Any = [["ab"] * 42_000]
    content: dict[str, Any] = {"x": rows}
    if shape == "aliases":
        # As stored before leading zeros meant nothing.
        paths = ["data.x." + "0" * zeros for zeros in range(1, 160)]
    else:
        for _ in range(28):
            content = {"x": content}
        paths = ["data" + ".x" * depth for depth in range(30)] * 8
    text = "%s" if shape != "nested texts" else "t%s"
    template = json.dumps([text % f"{{{{{path}}}}}" for path in paths], separators=(",", ":"))
    assert len(template) <= MAX_TEMPLATE_BYTES
    target = target_of(Custom(), options={"template": template})
    event = event_of(content)
    once = min(timeit.repeat(lambda: json.dumps(content), number=1, repeat=5))
    taken = min(timeit.repeat(lambda: Custom().render(event, target, NOW), number=1, repeat=3))
    # It was some thousand times as long; a busy machine alone makes this 50.
    assert taken < 150 * once


@pytest.mark.slow
@given(
    template=st.recursive(texts | st.just("{{ data }}"), lambda inner: st.lists(inner)),
    content=data,
)
def test_any_template_that_is_taken_renders(template: Any, content: Mapping[str, Any]) -> None:
    try:
        stored = check_template([template])
    except InvalidEndpoint:
        return
    target = target_of(Custom(), options={"template": stored})
    body = Custom().render(event_of(content), target, NOW).body
    json.loads(body)
    assert len(body) <= MAX_BODY_BYTES


@settings(deadline=None, max_examples=50)
@given(
    # Members that grow as they are filled in or written anew: 1e15 becomes 1000000000000000.0.
    parts=st.lists(
        st.sampled_from(
            [
                '"{{ data }}"',
                '"a: {{ data }}"',
                '"{{ data.text }}"',
                '{"b":"{{data.text}}"}',
                "1e15",
            ]
        ),
        min_size=1,
        max_size=4,
    ),
    count=st.integers(1, MAX_TEMPLATE_BYTES),
    piece=texts.filter(bool) | st.sampled_from(["x", '"', "\\", "\x01", "ä", "😀"]),
    size=st.integers(0, 250_000),
)
# Both as large as they may be.
@example(parts=['"{{ data }}"'] * 4 + ["1e15"], count=MAX_TEMPLATE_BYTES, piece="x", size=250_000)
@example(parts=['"a: {{ data }}"'], count=MAX_TEMPLATE_BYTES, piece='"', size=250_000)
def test_no_template_makes_a_body_that_is_over_the_bound(
    parts: list[str], count: int, piece: str, size: int
) -> None:
    # The first few once, the last again and again.
    room = MAX_TEMPLATE_BYTES - len(f"[{','.join(parts)}]".encode())
    written = [*parts, *[parts[-1]] * min(count, max(room // (len(parts[-1]) + 1), 0))]
    stored = check_template(f"[{','.join(written)}]")
    target = target_of(Custom(), options={"template": stored})
    text = piece * (size // len(piece.encode()))
    body = Custom().render(event_of({"text": text}), target, NOW).body
    json.loads(body)
    assert len(body) <= MAX_BODY_BYTES
