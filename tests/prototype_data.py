"""The prototype's data in its own shapes: six collections, a queue, logs, tables. The same for the same number."""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import httpx

from ai_sysadmin.stores.chroma import ROUTE

BEGAN = datetime(2026, 9, 1, tzinfo=UTC)
SECRET = "hunter2-Zq81xLpW"
SERVICES = ("nginx", "postgresql", "sshd", "grafana", "redis", "gitea", "prometheus", "openvpn")
FAULTS = ("certificate expired", "port already in use", "disk full", "out of memory", "permission denied", "timeout")

IN_FILES: Final = 5 + 61 + 60 + 60
"""So many entries ``fill_files`` writes: the queue, actions, decisions, closed issues."""


def collections(documents: int = 500) -> dict[str, list[tuple[str, str, dict]]]:
    """Return so many records over the six collections: id, document, metadata."""
    made = {
        "systems": [_system(n) for n in range(documents // 25)],
        "relationships": [_relationship(n) for n in range(documents // 10)],
        "issues": [_issue(n) for n in range(documents * 3 // 10)],
        "decisions": [_decision(n) for n in range(documents // 5)],
        "config_files": [_config_file(n) for n in range(documents // 10)],
    }
    rest = documents - sum(map(len, made.values()))
    return made | {"knowledge": [_knowledge(n) for n in range(rest)]}


def fill_files(directory: Path, entries: int = 60) -> None:
    """Write the state directory's files: so many entries in each log, three broken lines, a queue of five, models."""
    (directory / "logs").mkdir(parents=True, exist_ok=True)
    (directory / "models").mkdir(exist_ok=True)
    queue = [_queued(n) for n in range(5)]
    (directory / "approval_queue.json").write_text(json.dumps(queue, indent=2))
    _write(directory / "actions.jsonl", [_action(n) for n in range(entries)])
    _write(directory / "decisions.jsonl", [_logged_decision(n) for n in range(entries)])
    _write(directory / "logs" / "closed_issues.jsonl", [_closed(n) for n in range(entries)])
    lines = (directory / "actions.jsonl").read_text().splitlines()
    lines[3:3] = ["{broken", "[1, 2]", ""]
    lines.append(lines[0])
    (directory / "actions.jsonl").write_text("\n".join([*lines, '{"timestamp": "2026-10']))
    (directory / "review_model_state.json").write_text(json.dumps({"last_review": _at(1)}))
    (directory / "models" / "qwen3-4b.gguf").write_bytes(b"GGUF" + bytes(1000))


async def fill_chroma(url: str, records: dict[str, list[tuple[str, str, dict]]]) -> None:
    """Make the collections as the prototype did, with vectors of its default model's length."""
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
        for name, rows in records.items():
            made = await client.post(ROUTE, json={"name": name, "get_or_create": True})
            for start in range(0, len(rows), 200):
                some = rows[start : start + 200]
                body = {
                    "ids": [each for each, _, _ in some],
                    "documents": [text for _, text, _ in some],
                    "metadatas": [values for _, _, values in some],
                    "embeddings": [_vector(each) for each, _, _ in some],
                }
                answer = await client.post(f"{ROUTE}/{made.json()['id']}/upsert", json=body)
                answer.raise_for_status()


async def everything_in(url: str) -> dict[str, list]:
    """Return all that a ChromaDB holds, vectors included."""
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
        held = {}
        for each in (await client.get(ROUTE)).json():
            body = {"include": ["documents", "metadatas", "embeddings"], "limit": 10_000}
            page = (await client.post(f"{ROUTE}/{each['id']}/get", json=body)).json()
            rows = zip(page["ids"], page["documents"], page["metadatas"], page["embeddings"], strict=True)
            held[each["name"]] = sorted(rows, key=lambda row: row[0])
        return held


TABLES = """
CREATE TABLE system_metrics (time TIMESTAMPTZ NOT NULL, hostname TEXT NOT NULL, metric_name TEXT NOT NULL,
  value DOUBLE PRECISION, unit TEXT, metadata JSONB);
CREATE TABLE service_status (time TIMESTAMPTZ NOT NULL, hostname TEXT NOT NULL, service_name TEXT NOT NULL,
  status TEXT NOT NULL, active_state TEXT, metadata JSONB);
CREATE TABLE log_events (time TIMESTAMPTZ NOT NULL, hostname TEXT NOT NULL, severity TEXT NOT NULL, message TEXT,
  unit TEXT, metadata JSONB);
CREATE TABLE trigger_events (time TIMESTAMPTZ NOT NULL, hostname TEXT NOT NULL, trigger_type TEXT NOT NULL,
  trigger_reason TEXT, metadata JSONB);
CREATE INDEX idx_system_metrics_hostname_time ON system_metrics (hostname, time DESC);
CREATE INDEX idx_system_metrics_name ON system_metrics (metric_name, time DESC);
CREATE INDEX idx_service_status_hostname ON service_status (hostname, time DESC);
CREATE INDEX idx_log_events_severity ON log_events (severity, time DESC);
"""


def rows_sql(rows: int = 1000, days: int = 40) -> str:
    """Return the SQL that fills ``system_metrics`` and ``log_events`` over so many days."""
    step = f"'{BEGAN:%Y-%m-%d}'::timestamptz + g * interval '{days} days' / {rows}"
    return (
        f"INSERT INTO system_metrics SELECT {step}, 'host' || g % 2, 'cpu_percent', g % 100, '%', NULL"
        f" FROM generate_series(0, {rows - 1}) g;"
        f"INSERT INTO log_events SELECT {step}, 'host0', 'error', 'failed', 'nginx.service', '{{}}'"
        f" FROM generate_series(0, {rows // 10 - 1}) g;"
    )


def _at(hours: float) -> str:
    """Return a moment as the prototype wrote it: UTC, without saying so."""
    return (BEGAN + timedelta(hours=hours)).replace(tzinfo=None).isoformat()


def _of(number: int) -> tuple[str, str]:
    return SERVICES[number % len(SERVICES)], FAULTS[number % len(FAULTS)]


def _system(n):
    name, services = f"host{n}.lan", [SERVICES[n % 8], SERVICES[(n + 3) % 8]]
    text = f"System: {name}\nType: server\nOS: nixos\nServices: {', '.join(services)}"
    values = {"hostname": name, "type": "server", "os_type": "nixos", "services": json.dumps(services)}
    return name, text, values | {"capabilities": "[]", "metadata": "{}", "updated_at": _at(n)}


def _relationship(n):
    source, target = f"host{n}.lan", f"host{n + 1}.lan"
    text = f"{source} depends on {target} for {SERVICES[n % 8]}"
    values = {"source": source, "target": target, "type": "depends_on", "created_at": _at(n)}
    return f"{source}→{target}:depends_on", text, values


def _issue(n):
    service, fault = _of(n)
    issue_id = f"{hashlib.sha256(str(n).encode()).hexdigest()[:8]}-issue-{n}"
    tale = f"Issue {n}: {service} {fault}\nThe service {service} on host0 failed: {fault}. Marker zebra{n}."
    actions = json.dumps([{"type": "systemd_restart", "target": service, "output": ""}])
    values = {"issue_id": issue_id, "hostname": "host0", "title": f"{service}: {fault} ({n})", "severity": "high"}
    secret = f"login failed with password={SECRET}" if n == 7 else f"{service} does not start"
    values |= {"status": "resolved" if n % 3 else "open", "actions": actions, "description": secret}
    return issue_id, tale, values | {"created_at": _at(n), "updated_at": _at(n + 2), "resolved_at": ""}


def _decision(n):
    service, fault = _of(n)
    text = json.dumps({"analysis": f"{service} shows {fault}", "action": f"restart {service}"})
    return f"decision-{n}", text, {"timestamp": _at(n), "hostname": "host0", "outcome": "success", "confidence": 0.8}


def _config_file(n):
    path = f"systems/host{n}/{SERVICES[n % 8]}.nix"
    text = f"{{ config, ... }}:\n{{\n  services.{SERVICES[n % 8]}.enable = true;\n  # walrus{n}\n}}\n" * (1 + n % 40)
    return path, text, {"category": "apps", "path": path, "systems": json.dumps([f"host{n}.lan"]), "size": len(text)}


def _knowledge(n):
    service, fault = _of(n)
    values = {"topic": f"{service} and {fault} {n}", "category": "operations", "source": "experience"}
    values |= {"confidence": "medium", "times_referenced": n, "last_verified": _at(n), "tags": json.dumps([service])}
    return f"knowledge-{n}", f"When {service} says {fault}, look at its unit first. Marker heron{n}.", values


def _queued(n):
    service, fault = _of(n)
    action = {"diagnosis": f"{service}: {fault}", "proposed_action": f"systemctl restart {service}; rm -rf /tmp/x{n}"}
    action |= {"action_type": "systemd_restart", "risk_level": "low", "commands": [f"systemctl restart {service}"]}
    return {"action": action, "context": {"hostname": "host0"}, "timestamp": _at(n), "status": "pending"}


def _action(n):
    service, _ = _of(n)
    said = {"success": n % 2 == 0, "output": f"done {n}", "error": None}
    return {"timestamp": _at(n), "action": {"action_type": "systemd_restart", "target": service}, "result": said}


def _logged_decision(n):
    service, fault = _of(n)
    return {"timestamp": _at(n), "status": "attention_needed", "overall_assessment": f"{service} {fault} (review {n})"}


def _closed(n):
    service, fault = _of(n)
    values = {"issue_id": f"closed-{n}", "title": f"{service} {fault}", "resolution": f"restarted, marker ibex{n}"}
    return values | {"status": "closed", "created_at": _at(n), "closed_at": _at(n + 5)}


def _write(path: Path, entries: list[dict]) -> None:
    path.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in entries), encoding="utf-8")


def _vector(text: str) -> list[float]:
    digest = hashlib.sha256(text.encode()).digest()
    return [digest[number % 32] / 255 for number in range(384)]
