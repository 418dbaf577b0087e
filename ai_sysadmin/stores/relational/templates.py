"""What is known of templates; the monitor's part of a row and the others' parts do not overwrite each other."""

from collections.abc import Mapping, Sequence
from typing import Final

from ai_sysadmin.core.errors import NotFound
from ai_sysadmin.core.records import Judgement, Label, Review, Symptom, Template, Verdict
from ai_sysadmin.runtime.relational import Relational, Row, Transaction
from ai_sysadmin.stores.relational.rows import stamp

MOST_TEMPLATES: Final = 20_000
"""So many are kept of one host, the latest seen; those that a person judged always."""

REVIEWED: Final = "review"
"""How a label is marked that a review gave; it stands above the trigger model's."""

_OTHERS = {"label", "judgement", "judged_by"}


async def save_templates(tx: Transaction, host: str, templates: Sequence[Template]) -> None:
    """Write the monitor's part of templates."""
    if not templates:
        return
    await tx.many(
        "INSERT INTO templates (host, id, last_at, priority, body) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (host, id) DO UPDATE SET"
        " last_at = excluded.last_at, priority = excluded.priority, body = excluded.body",
        [
            (host, each.id, stamp(each.last_at), each.priority, each.model_dump_json(exclude=_OTHERS))
            for each in templates
        ],
    )
    kept = await tx.value("SELECT count(*) FROM templates WHERE host = ?", (host,))
    if kept > MOST_TEMPLATES:
        await tx.run(
            "DELETE FROM templates WHERE host = ? AND id IN (SELECT id FROM templates WHERE host = ?"
            " AND judgement IS NULL ORDER BY last_at, id LIMIT ?)",
            (host, host, kept - MOST_TEMPLATES),
        )


async def overrule(tx: Transaction, host: str, symptoms: Sequence[Symptom], review: Review) -> None:
    """Put what a review found of an incident's lines in the place of their templates' labels."""
    label = Label(
        category=REVIEWED,
        severity=review.severity,
        matters=review.verdict is not Verdict.BENIGN,
        summary=review.cause[:80],
        model=review.judged_by,
        prompt_version=REVIEWED,
        at=review.at,
    )
    ids = {symptom.details["template"] for symptom in symptoms if "template" in symptom.details}
    await tx.many(
        "UPDATE templates SET label = ?, prompt_version = ? WHERE host = ? AND id = ?",
        [(label.model_dump_json(), REVIEWED, host, each) for each in ids],
    )


class SqlTemplates:
    """``TemplateStore`` on a relational database."""

    def __init__(self, database: Relational, host: str) -> None:
        self._database = database
        self._host = host

    async def templates(self, limit: int = 100_000) -> Sequence[Template]:
        async def work(tx: Transaction) -> Sequence[Template]:
            rows = await tx.all(
                "SELECT * FROM templates WHERE host = ? ORDER BY last_at DESC, id LIMIT ?", (self._host, limit)
            )
            return tuple(_template(row) for row in rows)

        return await self._database.read(work)

    async def template(self, id_or_prefix: str) -> Template:
        async def work(tx: Transaction) -> Template:
            return _template(await _row(tx, self._host, id_or_prefix))

        return await self._database.read(work)

    async def unlabelled(self, limit: int, prompt_version: str) -> Sequence[Template]:
        async def work(tx: Transaction) -> Sequence[Template]:
            rows = await tx.all(
                "SELECT * FROM templates WHERE host = ? AND prompt_version NOT IN (?, ?) AND judgement IS NULL"
                " ORDER BY priority, last_at DESC, id LIMIT ?",
                (self._host, prompt_version, REVIEWED, limit),
            )
            return tuple(_template(row) for row in rows)

        return await self._database.read(work)

    async def label(self, labels: Mapping[str, Label]) -> None:
        async def work(tx: Transaction) -> None:
            await tx.many(
                "UPDATE templates SET label = ?, prompt_version = ? WHERE host = ? AND id = ? AND prompt_version <> ?",
                [
                    (label.model_dump_json(), label.prompt_version, self._host, template_id, REVIEWED)
                    for template_id, label in labels.items()
                ],
            )

        await self._database.write(work)

    async def pass_over(self, template_ids: Sequence[str], prompt_version: str) -> None:
        """Remember that this version of the prompt gets no label for templates; an earlier label stays."""

        async def work(tx: Transaction) -> None:
            await tx.many(
                "UPDATE templates SET prompt_version = ? WHERE host = ? AND id = ?",
                [(prompt_version, self._host, template_id) for template_id in template_ids],
            )

        await self._database.write(work)

    async def judge(self, template_id: str, judgement: Judgement | None, by: str) -> Template:
        async def work(tx: Transaction) -> Template:
            found = (await _row(tx, self._host, template_id))["id"]
            await tx.run(
                "UPDATE templates SET judgement = ?, judged_by = ? WHERE host = ? AND id = ?",
                (judgement.value if judgement else None, by if judgement else "", self._host, found),
            )
            return _template(await _row(tx, self._host, found))

        return await self._database.write(work)

    async def opinions(self) -> Mapping[str, tuple[Label | None, Judgement | None]]:
        async def work(tx: Transaction) -> Mapping[str, tuple[Label | None, Judgement | None]]:
            rows = await tx.all(
                "SELECT id, label, judgement FROM templates WHERE host = ?"
                " AND (label IS NOT NULL OR judgement IS NOT NULL)",
                (self._host,),
            )
            return {row["id"]: (_label(row), _judgement(row)) for row in rows}

        return await self._database.read(work)


async def _row(tx: Transaction, host: str, id_or_prefix: str) -> Row:
    rows = await tx.all(
        "SELECT * FROM templates WHERE host = ? AND id >= ? AND id < ? ORDER BY id LIMIT 2",
        (host, id_or_prefix, id_or_prefix + "\U0010ffff"),
    )
    if not rows or not id_or_prefix:
        raise NotFound(f"there is no template {id_or_prefix!r}: `ai-sysadmin templates list` shows what there is")
    if len(rows) > 1 and rows[0]["id"] != id_or_prefix:
        raise NotFound(f"more than one template begins with {id_or_prefix!r}: give more of its id")
    return rows[0]


def _template(row: Row) -> Template:
    template = Template.model_validate_json(row["body"])
    return template.model_copy(
        update={"label": _label(row), "judgement": _judgement(row), "judged_by": row["judged_by"]}
    )


def _label(row: Row) -> Label | None:
    return Label.model_validate_json(row["label"]) if row["label"] else None


def _judgement(row: Row) -> Judgement | None:
    return Judgement(row["judgement"]) if row["judgement"] else None
