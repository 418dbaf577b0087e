"""Alerts in: Alertmanager's webhook, version 4. What it sends is kept before it is told so.

Alertmanager tries again after a 5xx and drops what was answered with a 4xx: only what will never be right is a 4xx.
"""

import hashlib
import json
import logging
from datetime import datetime
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Request
from pydantic import AfterValidator, AwareDatetime, Field

from ai_sysadmin.context.redact import Redactor
from ai_sysadmin.core.clock import Clock
from ai_sysadmin.openai_api_server import wire
from ai_sysadmin.openai_api_server.errors import Fault, Faulty
from ai_sysadmin.stores.opinion_store import Alert, AlertStore

log = logging.getLogger(__name__)

PATH: Final = "/alerts/alertmanager"
MAX_BODY_BYTES: Final = 1 << 20
MAX_ALERTS: Final = 500
_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 9000
_MOST_PAIRS: Final = 64


def _cut(most: int) -> AfterValidator:
    return AfterValidator(lambda text: text[:most])


def _fewer(pairs: dict[str, str]) -> dict[str, str]:
    return dict(list(pairs.items())[:_MOST_PAIRS])


Name = Annotated[str, _cut(200)]
Value = Annotated[str, _cut(1000)]
Pairs = Annotated[dict[Name, Value], AfterValidator(_fewer)]


class SentAlert(wire.Lenient):
    """One alert of a notification. A moment that is not known is sent as the year 1."""

    status: Literal["firing", "resolved"]
    labels: Pairs
    annotations: Pairs = Field(default_factory=dict)
    starts_at: AwareDatetime | None = Field(None, alias="startsAt")
    ends_at: AwareDatetime | None = Field(None, alias="endsAt")
    fingerprint: Annotated[str, Field(max_length=128)] = ""


class Notification(wire.Lenient):
    version: Literal["4"]
    group_key: Annotated[str, _cut(500)] = Field("", alias="groupKey")
    truncated: Annotated[int, Field(ge=0)] = Field(0, alias="truncatedAlerts")
    alerts: tuple[SentAlert, ...]


def router(store: AlertStore, clock: Clock, redactor: Redactor | None = None) -> APIRouter:
    """Return the route; ``redactor`` takes the secrets out of what is sent."""
    made, without = APIRouter(), redactor or Redactor()

    @made.post(PATH)
    async def alertmanager(request: Request) -> dict[str, int]:
        alerts = [without_secrets(each, without) for each in alerts_in(await request.body(), clock.now())]
        await store.receive(alerts)
        log.info("received %d alerts", len(alerts), extra={"event": "alerts_received", "alerts": len(alerts)})
        return {"received": len(alerts)}

    return made


def alerts_in(body: bytes, now: datetime) -> tuple[Alert, ...]:
    """Read a notification.

    Raises:
        Faulty: 413, it is too large; 400, it is no notification of version 4.
    """
    if len(body) > MAX_BODY_BYTES:
        raise Faulty(Fault(413, f"a notification may have {MAX_BODY_BYTES} bytes: {_ADVICE}", code="request_too_large"))
    sent = wire.parse(Notification, body)
    if len(sent.alerts) > MAX_ALERTS:
        text = f"a notification may hold {MAX_ALERTS} alerts, this one holds {len(sent.alerts)}: {_ADVICE}"
        raise Faulty(Fault(413, text, code="too_many_alerts", param="alerts"))
    if sent.truncated:
        log.warning("%d alerts were left out by their sender", sent.truncated, extra={"event": "alerts_truncated"})
    return tuple(_alert(each, sent.group_key, now) for each in sent.alerts)


def without_secrets(alert: Alert, redactor: Redactor) -> Alert:
    """Return an alert whose labels and annotations hold no secret. Its fingerprint, where it holds one, is replaced."""
    labels, _ = redactor.mapping(alert.labels)
    annotations, _ = redactor.mapping(alert.annotations)
    named = not redactor.redact(alert.fingerprint).counts
    return alert.model_copy(
        update={
            "fingerprint": alert.fingerprint if named else _fingerprint_of({"": alert.fingerprint}),
            "group_key": redactor.redact(alert.group_key).text,
            "labels": labels,
            "annotations": annotations,
        }
    )


_ADVICE: Final = f"set max_alerts: {MAX_ALERTS} (or fewer) in the receiver's webhook_configs"


def _alert(sent: SentAlert, group_key: str, now: datetime) -> Alert:
    return Alert(
        fingerprint=sent.fingerprint or _fingerprint_of(sent.labels),
        status=sent.status,
        group_key=group_key,
        labels=sent.labels,
        annotations=sent.annotations,
        starts_at=_known(sent.starts_at) or now,
        ends_at=_known(sent.ends_at),
    )


def _known(moment: datetime | None) -> datetime | None:
    return moment if moment is not None and _FIRST_YEAR <= moment.year <= _LAST_YEAR else None


def _fingerprint_of(labels: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(labels, sort_keys=True).encode()).hexdigest()[:16]
