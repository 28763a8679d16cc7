"""Webhooks of an account over HTTP: its endpoints, what they were told, and once more. A door.

Rules of this file:
- A secret is shown once, when it is made. An account reaches its own endpoints only.
- Where a name leads is looked at when the endpoint is spoken to (`outward`): names change their addresses. A host that
  is written as an address is looked at here already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Final, Literal, TypeVar

import structlog
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import Connection

from gateway import store_webhooks
from gateway.api.auth import Asking
from gateway.api.faults import Refused, invalid
from gateway.api.forms import JsonBody, Paged, described, page, page_of, refusals, schema_of
from gateway.api.house import House
from gateway.documents import Fault
from gateway.orders import callback_fault
from gateway.outward import Network, address_fault
from gateway.replay import instant_text
from gateway.store_webhooks import DeliveryRow, Webhook
from gateway.webhooks import EVENTS
from scheduler.clock import utc_now

MAX_WEBHOOKS: Final = 50  # of an account
MAX_URL: Final = 2000  # characters

Url = Annotated[str, Field(min_length=1, max_length=MAX_URL, pattern="^https?://", description="http or https.")]
Events = Annotated[
    list[Literal[EVENTS]],  # type: ignore[valid-type]
    Field(max_length=len(EVENTS), description="The types that it is told of; none: all."),
]

log = structlog.get_logger("webhooks")

Asked = TypeVar("Asked", bound="_Body")


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    url: Url


class NewWebhook(_Body):
    """An endpoint to be told."""

    events: Events = []


class ChangedWebhook(_Body):
    """What of an endpoint is to be another. `disabled` true: it is told nothing until it is false."""

    url: Url = ""
    events: Events = []
    disabled: bool = False


class WebhookAnswer(BaseModel):
    """An endpoint. `events`: what it is told of, none: all. `disabled_at`: since then it is told nothing, and why.
    Times are UTC."""

    webhook_id: str
    url: str
    events: list[str]
    created_at: str
    disabled_at: str | None
    disabled_reason: str | None


class WebhookWithSecret(WebhookAnswer):
    """The same with its secret, which is not shown again: `whsec_` and base64, as Standard Webhooks has it."""

    secret: str


class DeliveryAnswer(BaseModel):
    """A message to an endpoint and what became of it. `delivery_id`: its webhook-id. `status`: what was answered last,
    null: nothing. `next_attempt_at`: null: never. `body`: as it is sent, empty when it was forgotten."""

    delivery_id: str
    type: str
    state: Literal["queued", "sent", "failed"]
    attempts: int
    status: int | None
    error: str | None
    created_at: str
    next_attempt_at: str | None
    settled_at: str | None
    forgotten_at: str | None
    body: str


class Webhooks:
    """The routes of webhooks."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.router = APIRouter(prefix="/v2/webhooks", tags=["webhooks"])
        one, with_secret = schema_of(WebhookAnswer), schema_of(WebhookWithSecret)
        delivery = schema_of(DeliveryAnswer)
        self._add("", "GET", self.list, described(page_of(one)), 400)
        self._add("", "POST", self.create, described(with_secret, schema_of(NewWebhook)), 400, 409, 413)
        self._add("/{webhook_id}", "GET", self.get, described(one), 404)
        self._add("/{webhook_id}", "PATCH", self.change, described(one, schema_of(ChangedWebhook)), 400, 404, 413)
        self._add("/{webhook_id}", "DELETE", self.remove, {}, 404, status_code=204, response_class=Response)
        self._add("/{webhook_id}/rotate", "POST", self.rotate, described(with_secret), 404)
        self._add("/{webhook_id}/test", "POST", self.test, described(delivery), 404, 409)
        self._add("/{webhook_id}/deliveries", "GET", self.deliveries, described(page_of(delivery)), 400, 404)
        path = "/{webhook_id}/deliveries/{delivery_id}/retry"
        self._add(path, "POST", self.retry, described(delivery), 404, 409)

    def _add(self, path: str, method: str, route: Any, told: dict[str, Any], *statuses: int, **more: Any) -> None:
        documented = refusals(401, 403, 503, *statuses)
        more = {"response_model": None, "responses": documented, "openapi_extra": told, **more}
        self.router.add_api_route(path, route, methods=[method], **more)

    def create(self, key: Asking, body: JsonBody) -> dict[str, Any]:
        """Let an address be told of what happens to the account's PALs from now on, by Standard Webhooks.

        The answer has the secret that messages are signed with; it is not shown again.
        """
        asked = _read(NewWebhook, body, self._house.private)
        webhook = store_webhooks.fresh_webhook(key.account, asked.url, asked.events, utc_now())
        with self._house.engine.begin() as connection:
            if store_webhooks.of_account(connection, key.account, None, 1).total >= MAX_WEBHOOKS:
                raise Refused(409, f"An account has at most {MAX_WEBHOOKS} webhooks.")
            store_webhooks.add(connection, webhook)
        log.info("webhook added", webhook=webhook.id, account=key.account)
        return _with_secret(webhook)

    def list(self, key: Asking, paging: Paged) -> dict[str, Any]:
        """The account's endpoints, the newest first."""
        with self._house.engine.connect() as connection:
            return page(store_webhooks.of_account(connection, key.account, paging.after, paging.limit), _shown)

    def get(self, key: Asking, webhook_id: str) -> dict[str, Any]:
        """One endpoint."""
        with self._house.engine.connect() as connection:
            return _shown(_known(connection, key.account, webhook_id))

    def change(self, key: Asking, webhook_id: str, body: JsonBody) -> dict[str, Any]:
        """Change what is named, and nothing else. What waits for an endpoint that is disabled is given up."""
        asked, now = _read(ChangedWebhook, body, self._house.private), utc_now()
        with self._house.engine.begin() as connection:
            webhook = _changed(_known(connection, key.account, webhook_id), asked)
            if asked.disabled and webhook.disabled_at is None:
                webhook = replace(webhook, disabled_at=now, disabled_reason="by its account")
                store_webhooks.drop_waiting(connection, webhook.id, "the endpoint was disabled", now)
            store_webhooks.save(connection, webhook)
        return _shown(webhook)

    def remove(self, key: Asking, webhook_id: str) -> None:
        """Forget an endpoint, and what it was told."""
        with self._house.engine.begin() as connection:
            store_webhooks.remove(connection, _known(connection, key.account, webhook_id).id)
        log.info("webhook removed", webhook=webhook_id, account=key.account)

    def rotate(self, key: Asking, webhook_id: str) -> dict[str, Any]:
        """Make a new secret. For 24 hours messages are signed with the one before, too."""
        with self._house.engine.begin() as connection:
            webhook = store_webhooks.with_new_secret(_known(connection, key.account, webhook_id), utc_now())
            store_webhooks.save(connection, webhook)
        return _with_secret(webhook)

    def test(self, key: Asking, webhook_id: str) -> dict[str, Any]:
        """Send a message of the type `webhook.test`, within seconds."""
        with self._house.engine.begin() as connection:
            webhook = _known(connection, key.account, webhook_id)
            if webhook.disabled_at is not None:
                raise Refused(409, f"{webhook.id} is disabled; enable it first.")
            return _told(store_webhooks.test(connection, webhook, utc_now()))

    def deliveries(self, key: Asking, webhook_id: str, paging: Paged) -> dict[str, Any]:
        """What an endpoint was told and what became of it, the newest first."""
        with self._house.engine.connect() as connection:
            webhook = _known(connection, key.account, webhook_id)
            return page(store_webhooks.log_of(connection, webhook.id, paging.after, paging.limit), _told)

    def retry(self, key: Asking, webhook_id: str, delivery_id: str) -> dict[str, Any]:
        """Send a message once more, with the same webhook-id."""
        with self._house.engine.begin() as connection:
            webhook = _known(connection, key.account, webhook_id)
            done = store_webhooks.queue_again(connection, delivery_id, utc_now(), webhook.id)
        if done is None:
            raise Refused(404, "There is no such delivery.")
        if isinstance(done, str):
            raise Refused(409, done)
        return _told(done)


def _known(connection: Connection, account: str, webhook_id: str) -> Webhook:
    webhook = store_webhooks.find(connection, webhook_id, account)
    if webhook is None:
        raise Refused(404, "There is no such webhook.")
    return webhook


def _read(model: type[Asked], body: Any, private: Sequence[Network]) -> Asked:
    """What a body says. Raises Refused, with every fault named."""
    try:
        asked = model.model_validate(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise invalid([Fault(".".join(map(str, one["loc"])), one["msg"] + ".") for one in found]) from error
    named = "url" in asked.model_fields_set
    fault = callback_fault(asked.url) or address_fault(asked.url, private) if named else None
    if fault is not None:
        raise invalid([Fault("url", fault)])
    return asked


def _changed(webhook: Webhook, asked: ChangedWebhook) -> Webhook:
    """An endpoint with what was named, enabled where that was asked for."""
    named = asked.model_fields_set
    if "url" in named:
        webhook = replace(webhook, url=asked.url)
    if "events" in named:
        webhook = replace(webhook, events=tuple(asked.events))
    if "disabled" in named and not asked.disabled:
        webhook = replace(webhook, disabled_at=None, disabled_reason=None)
    return webhook


def _shown(webhook: Webhook) -> dict[str, Any]:
    shown = {"webhook_id": webhook.id, "url": webhook.url, "events": [*webhook.events]}
    since = {"created_at": instant_text(webhook.created_at), "disabled_at": instant_text(webhook.disabled_at)}
    return {**shown, **since, "disabled_reason": webhook.disabled_reason}


def _with_secret(webhook: Webhook) -> dict[str, Any]:
    return {**_shown(webhook), "secret": webhook.secrets[0].value}


def _told(row: DeliveryRow) -> dict[str, Any]:
    instants = {name: instant_text(getattr(row, name)) for name in ("created_at", "settled_at", "forgotten_at")}
    what = {"delivery_id": row.id, "type": row.type, "state": row.state, "attempts": row.attempt}
    came = {"status": row.status, "error": row.error, "next_attempt_at": instant_text(row.wake_at)}
    return {**what, **came, **instants, "body": row.body}
