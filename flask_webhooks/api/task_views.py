"""Tasks over many deliveries: what one would do, start, progress, stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Response

from .. import actions, queries
from ..access import Access
from ..models import TaskKind
from ..serializers import PreviewObject, TaskObject
from .answering import answer, answer_page, location_of
from .bodies import NewTaskBody
from .parameters import TaskListQuery
from .request_reader import scoped, scoped_to_many
from .routes import PageOf, Route


def task_list(access: Access, query: dict[str, Any]) -> Response:
    """Tasks, newest first."""
    return answer_page(queries.list_tasks(scoped(access, query), **query), TaskObject)


def task(access: Access, task_id: str) -> Response:
    """One task, and how far it is."""
    return answer(TaskObject.serialize(queries.get_task(access, task_id)))


def task_preview(access: Access, body: dict[str, Any]) -> Response:
    """What a task would do, without starting it."""
    access, kind, endpoint_id, filter = _arguments(access, body, scoped)
    return answer(
        PreviewObject.serialize(queries.preview_task(access, kind, endpoint_id, **filter))
    )


def task_start(access: Access, body: dict[str, Any]) -> Response:
    """Have workers do something to many deliveries."""
    access, kind, endpoint_id, filter = _arguments(access, body, scoped_to_many)
    started = actions.start_task(access, kind, endpoint_id, **filter)
    where = location_of("task", task_id=started.id)
    return answer(TaskObject.serialize(queries.TaskRow(started, None)), 202, location=where)


def task_stop(access: Access, task_id: str) -> Response:
    """Stop it; what is done stays done."""
    return answer(TaskObject.serialize(queries.TaskRow(actions.stop_task(access, task_id), None)))


ROUTES = (
    Route("GET", "/tasks", task_list, PageOf(TaskObject), query=TaskListQuery),
    Route(
        "POST",
        "/tasks",
        task_start,
        TaskObject,
        body=NewTaskBody,
        status=202,
        located=True,
        limited=True,
    ),
    Route("POST", "/tasks/preview", task_preview, PreviewObject, body=NewTaskBody),
    Route("GET", "/tasks/<task_id>", task, TaskObject),
    Route("POST", "/tasks/<task_id>/stop", task_stop, TaskObject),
)


def _arguments(
    access: Access,
    body: dict[str, Any],
    scope_of_all: Callable[[Access, dict[str, Any]], Access],
) -> tuple[Access, Any, str | None, Any]:
    """The arguments of `queries.preview_task` and of `actions.start_task`.

    :param scope_of_all: how far it goes where no endpoint is named.
    """
    endpoint_id = body.pop("endpoint_id", None)
    if body.get("kind") == TaskKind.ERASE:
        # It takes who sees all tenants: one of them is a part of what is looked for.
        tenant = body.get("tenant")
        scope_of_all(access, body)
        body.pop("all_tenants", None)
        return access, body.pop("kind"), endpoint_id, {**body, "tenant": tenant}
    access = (scope_of_all if endpoint_id is None else scoped)(access, body)
    body.pop("all_tenants", None)
    return access, body.pop("kind"), endpoint_id, body
