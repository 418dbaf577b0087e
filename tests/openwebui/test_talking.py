"""Talking: choose the model, ask, see the answer grow, stop it, see it fail."""

import time

MODEL = "ai-sysadmin"
ANSWER = "The disk is **12 % full**. Nothing has to be done about it today."


def test_a_model_is_chosen_and_answers(host, anna):
    host.script.course("How full is the disk", ANSWER, pause_seconds=0.02)
    anna.choose("web1")
    anna.ask("How full is the disk?")
    message = anna.until_answered()
    anna.picture("answer")
    assert message["model"] == MODEL
    assert "12 % full" in anna.seen


def test_an_answer_streams(host, anna):
    course = host.script.course("Tell me all", "word " * 60 + "end.", pause_seconds=0.05)
    anna.open(MODEL)
    anna.ask("Tell me all about it")
    anna.until(lambda: "word" in anna.seen, "the first words are there")
    assert course.answering == 1 and "end." not in anna.seen
    anna.until_answered()
    assert "end." in anna.seen


def test_stop_ends_the_models_work(host, anna):
    course = host.script.course("Count to a thousand", " ".join(map(str, range(1000))), pause_seconds=0.05)
    anna.open(MODEL)
    anna.ask("Count to a thousand")
    anna.until(lambda: "12" in anna.seen, "it counts")
    pressed = time.monotonic()
    anna.stop()
    anna.until(lambda: course.answering == 0, "the model's slot is free", 2)
    assert course.left_after_words is not None and course.left_after_words < 500
    anna.page.wait_for_timeout(500)
    anna.picture("stopped")
    assert time.monotonic() - pressed < 5


def test_without_the_model_there_is_a_report(host, anna):
    host.script.course("Will this fail", status=500)
    anna.open(MODEL)
    anna.ask("Will this fail?")
    anna.until_answered()
    anna.picture("report")
    assert "report without a model" in anna.seen


def test_an_answer_that_breaks_off_says_so(host, anna):
    host.script.course("Will this break off", "word " * 40, pause_seconds=0.05, breaks_after=20)
    anna.open(MODEL)
    anna.ask("Will this break off?")
    anna.until_answered()
    anna.picture("broken")
    assert "word word" in anna.seen and "report without a model" in anna.seen


def test_without_the_api_there_is_an_error(host, anna):
    anna.open(MODEL)
    host.machine.systemctl("stop", "ai-sysadmin-api.service").ok()
    try:
        anna.ask("Is anybody there?")
        anna.until(lambda: anna.message.get("error"), "the error is shown")
        anna.picture("error")
    finally:
        host.machine.systemctl("start", "ai-sysadmin-api.service").ok()
