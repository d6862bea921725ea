"""What a claim decides, without a database: capacity, shares, probes, order, reserves and rate limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_webhooks.delivery.claim.plan import (
    LONGEST_WAIT,
    Capacity,
    ClaimPlan,
    Limits,
    Snapshot,
    plan_claim,
    plan_picks,
)
from flask_webhooks.delivery.claim.rate_limit import HORIZON, Reservations, interval
from flask_webhooks.delivery.claim.snapshot import DeliverySettings, HealthSnapshot
from flask_webhooks.delivery.outcome import Unsettled

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)
LIMITS = Limits(per_endpoint=10, reserve=0, slow_reserve=0)


@dataclass(frozen=True)
class Row:
    id: str
    endpoint_id: str
    unnumbered: int = 0


def a_health(**values: Any) -> HealthSnapshot:
    return HealthSnapshot(
        **{"hold_until": None, "failing": False, "look_at": None, "slow": False, **values}
    )


def some_settings(**values: Any) -> DeliverySettings:
    usual = {"active": True, "ordered": False, "rate_limit": None, "shared": None, "bucket": None}
    return DeliverySettings(**{**usual, "version": 1, **values})


def a_snapshot(endpoints: Mapping[str, Mapping[str, Any]], **values: Any) -> Snapshot:
    """Endpoints by what is special about them."""
    of_health = HealthSnapshot.__slots__
    return Snapshot(
        endpoint_ids=list(endpoints),
        health={
            name: a_health(**{key: value for key, value in special.items() if key in of_health})
            for name, special in endpoints.items()
        },
        settings={
            name: some_settings(
                **{key: value for key, value in special.items() if key not in of_health}
            )
            for name, special in endpoints.items()
        },
        **values,
    )


def planned(
    snapshot: Snapshot,
    due: Mapping[str, int],
    capacity: Capacity,
    limits: Limits = LIMITS,
    reservations: Reservations | None = None,
) -> ClaimPlan:
    """Plan with a queue that holds so many due deliveries of each endpoint."""
    picks = plan_picks(snapshot, capacity, limits, NOW)
    rows = [
        Row(f"{request.endpoint_id}-{number}", request.endpoint_id)
        for request in picks.requests
        if not request.on_demand
        for number in range(min(request.count, due.get(request.endpoint_id, 0)))
    ]
    reservations = reservations or Reservations(NOW, {}, {})
    return plan_claim(rows, picks, snapshot, reservations, capacity, limits, NOW)


def by_endpoint(plan: ClaimPlan) -> dict[str, int]:
    return dict(Counter(name.rpartition("-")[0] for name in plan.chosen))


def test_capacity_is_shared_equally() -> None:
    plan = planned(
        a_snapshot({"a": {}, "b": {}, "c": {}}), {"a": 50, "b": 50, "c": 50}, Capacity(6)
    )
    assert by_endpoint(plan) == {"a": 2, "b": 2, "c": 2}
    assert plan.full
    assert plan.limited


def test_cap_counts_what_is_in_flight_and_not_what_was_answered() -> None:
    snapshot = a_snapshot({"a": {}}, in_flight={"a": 8})
    assert by_endpoint(planned(snapshot, {"a": 50}, Capacity(100))) == {"a": 2}
    answered = Unsettled(answered=Counter({"a": 3}))
    snapshot = a_snapshot({"a": {}}, in_flight={"a": 8}, unsettled=answered)
    assert by_endpoint(planned(snapshot, {"a": 50}, Capacity(100))) == {"a": 5}


@pytest.mark.parametrize("special", [{"failing": True}, {"ordered": True}])
def test_failing_and_ordered_endpoints_get_one_at_a_time(special: dict[str, Any]) -> None:
    assert by_endpoint(planned(a_snapshot({"a": special}), {"a": 50}, Capacity(100))) == {"a": 1}
    busy = a_snapshot({"a": special}, in_flight={"a": 1})
    assert planned(busy, {"a": 50}, Capacity(100)).chosen == {}


@pytest.mark.parametrize("special", [{"active": False}, {"hold_until": LATER}])
def test_paused_and_held_endpoints_get_only_what_a_person_asked_for(special: Any) -> None:
    picks = plan_picks(a_snapshot({"a": special}), Capacity(100), LIMITS, NOW)
    assert [(request.count, request.on_demand) for request in picks.requests] == [(10, True)]


def test_reserve_is_left_to_endpoints_with_nothing_in_flight() -> None:
    limits = Limits(per_endpoint=10, reserve=2, slow_reserve=0)
    snapshot = a_snapshot({"busy": {}, "idle": {}}, in_flight={"busy": 1})
    plan = planned(snapshot, {"busy": 5, "idle": 1}, Capacity(2), limits)
    assert by_endpoint(plan) == {"idle": 1}
    assert plan.full
    assert plan.limited


def test_only_usual_endpoints_wait_for_a_slot() -> None:
    snapshot = a_snapshot({"usual": {}, "slow": {"slow": True}, "ordered": {"ordered": True}})
    plan = planned(snapshot, {"usual": 5, "slow": 5, "ordered": 5}, Capacity(0, ahead=9))
    assert by_endpoint(plan) == {"usual": 3}
    assert plan.ahead == set(plan.chosen)


def test_rate_limit_gives_slots_one_interval_apart_and_changes_nothing_by_itself() -> None:
    step = interval(5.0)
    snapshot = a_snapshot({"a": {"bucket": "a", "rate_limit": 5.0}})
    reservations = Reservations(NOW, {"a": NOW}, {"a": step})
    plan = planned(snapshot, {"a": 10}, Capacity(10), reservations=reservations)
    slots = [slot for slot in plan.chosen.values() if slot is not None]
    assert slots == [NOW + number * step for number in range(len(slots))]
    assert slots[-1] <= NOW + HORIZON < slots[-1] + step
    assert plan.rate_limited == {"a": plan.reservations.next_slot["a"] - HORIZON}
    assert reservations.next_slot == {"a": NOW}
    assert not reservations.used


def test_rate_limit_that_is_far_away_is_looked_at_again_within_a_minute() -> None:
    snapshot = a_snapshot({"a": {"bucket": "a"}})
    far = Reservations(NOW, {"a": NOW + timedelta(days=1)}, {"a": timedelta(0)})
    plan = planned(snapshot, {"a": 1}, Capacity(10), reservations=far)
    assert plan.rate_limited == {"a": NOW + timedelta(seconds=LONGEST_WAIT)}
    assert plan.chosen == {}
    assert not plan.contended


def test_rate_limit_that_another_worker_holds_is_tried_again_soon() -> None:
    snapshot = a_snapshot({"a": {"bucket": "a"}})
    plan = planned(snapshot, {"a": 1}, Capacity(10), reservations=Reservations(NOW, {}, {}))
    assert plan.contended
    assert plan.chosen == {}
    assert plan.rate_limited == {}


def test_endpoint_whose_deferred_deliveries_are_taken_is_told() -> None:
    snapshot = a_snapshot({"a": {"look_at": NOW}, "b": {"look_at": NOW}, "c": {}})
    assert planned(snapshot, {"a": 1, "b": 50, "c": 1}, Capacity(12)).exhausted == ["a"]


ENDPOINT = st.fixed_dictionaries(
    {},
    optional={
        "active": st.booleans(),
        "ordered": st.booleans(),
        "failing": st.booleans(),
        "slow": st.booleans(),
        "hold_until": st.sampled_from([None, NOW, LATER]),
    },
)


@given(
    endpoints=st.lists(ENDPOINT, min_size=1, max_size=6),
    due=st.lists(st.integers(0, 30), min_size=6, max_size=6),
    in_flight=st.lists(st.integers(0, 12), min_size=6, max_size=6),
    slots=st.integers(0, 40),
    ahead=st.integers(0, 40),
    most=st.none() | st.integers(1, 40),
    reserve=st.integers(0, 5),
)
def test_whatever_is_due_every_limit_holds(
    endpoints: list[dict[str, Any]],
    due: list[int],
    in_flight: list[int],
    slots: int,
    ahead: int,
    most: int | None,
    reserve: int,
) -> None:
    names = [f"e{number}" for number in range(len(endpoints))]
    flying = dict(zip(names, in_flight, strict=False))
    snapshot = a_snapshot(dict(zip(names, endpoints, strict=True)), in_flight=flying)
    capacity, limits = Capacity(slots, ahead, most), Limits(10, reserve, reserve)
    plan = planned(snapshot, dict(zip(names, due, strict=False)), capacity, limits)
    taken = by_endpoint(plan)
    assert len(plan.chosen) <= capacity.total
    assert len(plan.chosen) - len(plan.ahead) <= slots
    assert len(plan.ahead) <= ahead
    for name, number in taken.items():
        assert flying[name] + number <= limits.per_endpoint
        health, settings = snapshot.health[name], snapshot.settings[name]
        assert settings.active
        assert not health.held(NOW)
        if health.failing or settings.ordered:
            assert number == 1
            assert flying[name] == 0
    for name in {row.rpartition("-")[0] for row in plan.ahead}:
        assert snapshot.may_wait(name, NOW)
