"""Looking: what the person sees while tools run, and what the answer rests on; and the front end's own small work."""

import json

MODEL = "ai-sysadmin"
QUESTION = "Why is the good one slow"
UNIT = "e2e-good.service"
STEPS = (
    {"plan": "See how it stands, then its log.", "do": "unit_status", "unit": UNIT},
    {"plan": "Now its log.", "do": "unit_log", "unit": UNIT, "minutes": 60, "contains": "", "priority": "any"},
)
ANSWER = "`e2e-good.service` runs as it should [t1], and its log shows nothing unusual [t2]. " + "It is not slow. " * 20


def looking(host, question=QUESTION, **more):
    host.machine.systemctl("start", "e2e-good.service").ok()
    return host.script.course(question, ANSWER, *STEPS, **more)


def test_tools_are_seen_at_work_and_the_answer_names_its_sources(host, anna):
    course = looking(host, pause_seconds=0.05)
    anna.open(MODEL)
    anna.ask(f"{QUESTION}?")
    anna.until(lambda: "status of e2e-good.service" in anna.seen, "the status line names what is looked at")
    anna.picture("working")
    message = anna.until_answered()
    anna.picture("answered", whole=True)
    kinds = [item["type"] for item in message["output"]]
    assert kinds.count("function_call") == kinds.count("function_call_output") == len(STEPS)
    assert all(item["status"] == "completed" for item in message["output"] if item["type"] == "function_call")
    names = [item["name"] for item in message["output"] if item["type"] == "function_call"]
    assert names == ["unit_status", "unit_log"]
    assert len(message.get("sources") or []) == len(STEPS)
    assert "runs as it should" in anna.seen
    assert "e2e-good.service" in course.prompts[-1]


def test_a_tool_card_opens_and_shows_what_was_found(host, anna):
    looking(host, "Show me what you found")
    anna.open(MODEL)
    anna.ask("Show me what you found")
    anna.until_answered()
    for shown in ("Explored", "View Result from unit_status"):
        anna.page.get_by_text(shown).locator("visible=true").first.click()
        anna.page.wait_for_timeout(600)
    anna.picture("card", whole=True)
    assert "active" in anna.seen


def test_stopping_while_a_tool_was_looked_at_ends_it(host, anna):
    course = looking(host, "Look and then talk for long", pause_seconds=0.2)
    anna.open(MODEL)
    anna.ask("Look and then talk for long")
    anna.until(lambda: course.answering, "it looked, and answers")
    anna.stop()
    anna.until(lambda: course.answering == 0, "the model's slot is free", 2)
    asked = len(course.prompts)
    anna.page.wait_for_timeout(1500)
    assert len(course.prompts) == asked, "it goes on without anybody there"
    anna.picture("stopped")


def test_background_work_is_small_and_looks_at_nothing(host, anna):
    course = host.script.course("Is the backup fresh", "Yes: it is of last night.")
    anna.open(MODEL)
    before = looked_up(host)
    anna.ask("Is the backup fresh?")
    message = anna.until_answered()
    kept = anna.until(lambda: with_tags(anna.conversation), "its tags are there", 60)
    anna.picture("tasks")
    assert kept["title"] and "### Task" not in kept["title"]
    anna.until(lambda: isinstance(anna.message.get("followUps"), list), "its follow-ups are there")
    assert looked_up(host) == before
    of_tasks = [body for body in host.script.asked if "### Task:" in json.dumps(body)]
    assert of_tasks == [], "the model that investigates is not asked for titles"
    assert len(course.prompts) == 1, "one answer, and nothing more was asked of it"
    assert message["content"] or message["output"]


def with_tags(conversation):
    return conversation if conversation.get("meta", {}).get("tags") else None


def looked_up(host) -> int:
    return len(host.machine.journal(AI_EVENT="looked_up"))
