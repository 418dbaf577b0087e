"""What a person reads, how many messages there are, whom they go to, and what is kept of that."""

import asyncio
import os
import threading
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.core.errors import Unavailable
from ai_sysadmin.notifications import TEST
from ai_sysadmin.notifications.addresses import SecretFile, addresses_in, shown
from ai_sysadmin.notifications.ledger import KEPT, Book, Ledger, Owed
from ai_sysadmin.notifications.messages import MOST_LISTED, Message, catching_up, message_of, name
from ai_sysadmin.notifications.pacing import STALE, is_wanted, paced
from ai_sysadmin.notifications.reach import FIRST_PAUSE, LONGEST_PAUSE, Reach
from ai_sysadmin.notifications.sending import AppriseSender
from ai_sysadmin.notifications.suite_watch import (
    AWAY,
    DEGRADED,
    GRACE,
    WELL,
    Change,
    SuiteWatch,
    is_away,
    standing_of,
    states_of,
)
from ai_sysadmin.stores import ServiceNote
from ai_sysadmin.stores.notification_store import Notice
from ai_sysadmin.testing.fake_systemd import FakeSystemd
from tests.builders import HOST, NOW, UNIT
from tests.notifying import Moment

OCCASIONS = ("needs_person", "acted", "reverted", "resolved", "suite_trouble")


def notice(number=1, occasion="needs_person", **changes):
    given = {
        "id": number,
        "host": HOST,
        "occasion": occasion,
        "incident_id": f"inc{number}",
        "unit": UNIT,
        "kind": "unit_failed",
        "at": NOW + timedelta(seconds=number),
    }
    return Notice(**(given | changes))


# --- the words


@pytest.mark.parametrize("occasion", OCCASIONS)
def test_a_message_says_host_unit_kind_id_and_what_to_do(occasion):
    message = message_of([notice(occasion=occasion)], "https://chat.example.org")
    for said in (HOST, UNIT, "unit_failed", "inc1", "ai-sysadmin incidents show inc1", "https://chat.example.org"):
        assert said in message.body
    assert HOST in message.title and UNIT in message.title and "inc1" in message.title


def test_the_suites_trouble_points_to_doctor():
    message = message_of([notice(occasion="suite_trouble", incident_id="", unit="review-model", kind=DEGRADED)])
    assert "ai-sysadmin doctor" in message.body and "incidents" not in message.body
    assert "review-model" in message.title and message.tone == "failure"


def test_a_summary_counts_all_and_lists_the_urgent_first():
    many = [notice(number, "resolved") for number in range(500)] + [notice(900), notice(901, "suite_trouble")]
    message = message_of(many)
    assert "502 notices" in message.title
    assert "is well again: 500" in message.body and "needs you: 1" in message.body
    listed = [line for line in message.body.splitlines() if line.startswith("- ")]
    assert len(listed) == MOST_LISTED
    assert "in trouble" in listed[0] and "inc900" in listed[1]
    assert f"and {502 - MOST_LISTED} more" in message.body


@given(st.lists(st.tuples(st.text(max_size=400), st.sampled_from(OCCASIONS)), min_size=1, max_size=40))
def test_a_message_is_short_and_plain_whatever_a_unit_is_called(units):
    made = [
        notice(number, occasion, unit=unit, kind=unit, incident_id=unit)
        for number, (unit, occasion) in enumerate(units)
    ]
    message = message_of(made)
    assert len(message.title) <= 400 and len(message.body) <= 8000
    said = message.title + message.body
    assert "://" not in said and not set("<>*`{}|\x00\x1b\u202e") & set(message.body)
    assert len(message.title.splitlines()) == 1


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("web@1.service", "web@1.service"),
        ("see https://evil.example/x", "see https:evil.example/x"),
        ("<!channel> *now*", "?channel? ?now?"),
        ("a\nb", "a?b"),
    ],
)
def test_a_name_is_no_link_and_no_markup(given, shown):
    assert name(given) == shown


def test_several_messages_that_did_not_arrive_come_as_one():
    messages = [message_of([notice(number)]) for number in range(1, 48)]
    assert catching_up(messages[:1]) == messages[0]
    one = catching_up(messages)
    assert "47 messages" in one.title and "inc47" in one.body and "and 17 more" in one.body
    assert one.tone == "warning"


# --- how many


def test_up_to_the_limit_each_notice_is_a_message_of_its_own_the_urgent_ones_first():
    some = [notice(1, "resolved"), notice(2, "acted"), notice(3), notice(4, "reverted"), notice(5, "suite_trouble")]
    pace = paced(some, 0, 6, held=False)
    assert [group[0].occasion for group in pace.messages] == [
        *("suite_trouble", "needs_person", "reverted", "acted", "resolved")
    ]
    assert not pace.held


def test_what_is_beyond_the_limit_is_one_summary_when_the_hour_is_over():
    many = [notice(number) for number in range(1000)]
    first = paced(many, 0, 6, held=False)
    assert [len(group) for group in first.messages] == [1] * 6
    assert first.held
    rest = many[6:]
    assert paced(rest, 6, 6, held=True) == paced(rest, 7, 6, held=False)
    assert paced(rest, 6, 6, held=True).messages == ()
    later = paced(rest, 5, 6, held=True)
    assert [len(group) for group in later.messages] == [994]
    assert not later.held


@given(
    st.lists(st.sampled_from(OCCASIONS), max_size=30),
    st.integers(0, 20),
    st.integers(1, 12),
    st.booleans(),
)
def test_never_more_than_the_limit_and_nothing_twice(occasions, sent, most, held):
    waiting = [notice(number, occasion) for number, occasion in enumerate(occasions)]
    pace = paced(waiting, sent, most, held=held)
    told = [each.id for group in pace.messages for each in group]
    assert len(pace.messages) <= max(0, most - sent)
    assert len(told) == len(set(told))
    assert pace.held == (len(told) < len(waiting))
    if told and not held:  # what waits on is not more urgent than what went out
        left = [each for each in waiting if each.id not in told]
        urgent = ("suite_trouble", "needs_person")
        assert not any(each.occasion in urgent for each in left) or waiting[told[-1]].occasion in urgent


@pytest.mark.parametrize("occasion", OCCASIONS)
def test_what_is_only_worth_knowing_grows_stale(occasion):
    late = notice(occasion=occasion).at + STALE + timedelta(seconds=1)
    assert is_wanted(notice(occasion=occasion), OCCASIONS, NOW)
    assert is_wanted(notice(occasion=occasion), OCCASIONS, late) == (occasion in {"needs_person", "suite_trouble"})
    assert not is_wanted(notice(occasion=occasion), (), NOW)


# --- the file of URLs


def test_urls_stand_one_a_line_and_comments_do_not_count(tmp_path):
    file = tmp_path / "urls"
    file.write_text("# mine\njson://a\n\n  ntfy://topic \njson://a\n")
    file.chmod(0o600)
    assert [address.url for address in SecretFile(file).read()] == ["json://a", "ntfy://topic"]


def test_a_changed_file_counts_at_once(tmp_path):
    path = tmp_path / "urls"
    path.write_text("json://a\n")
    path.chmod(0o640)
    file = SecretFile(path)
    assert [address.url for address in file.read()] == ["json://a"]
    other = tmp_path / "other"
    other.write_text("json://b\n")
    other.chmod(0o600)
    other.replace(path)
    assert [address.url for address in file.read()] == ["json://b"]
    path.unlink()
    with pytest.raises(Unavailable, match="No such file"):
        file.read()


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o620, 0o660, 0o601])
def test_a_file_that_others_can_read_or_change_is_refused(tmp_path, mode):
    file = tmp_path / "urls"
    file.write_text("json://hunter2")
    file.chmod(mode)
    with pytest.raises(Unavailable, match="chmod 0600") as refused:
        SecretFile(file).read()
    assert "hunter2" not in str(refused.value)


def test_a_file_of_another_user_is_refused(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    file = tmp_path / "urls"
    file.write_text("json://a")
    file.chmod(0o600)
    os.chown(file, 12345, 12345)
    with pytest.raises(Unavailable, match="another user"):
        SecretFile(file).read()


@pytest.mark.parametrize("content", [b"", b"# none\n", b"\xff\xfe", b"x" * (65 << 10)])
def test_a_file_without_urls_is_refused(tmp_path, content):
    file = tmp_path / "urls"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(Unavailable):
        SecretFile(file).read()


def test_a_fifo_in_its_place_holds_nobody_up(tmp_path):
    os.mkfifo(tmp_path / "urls", 0o600)
    with pytest.raises(Unavailable, match="no file"):
        SecretFile(tmp_path / "urls").read()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("json://bot:pw@hooks.example.org:8080/token", "line 3 (json://hooks.example.org:8080)"),
        ("mailto://me:pw@example.org?to=x@y", "line 3 (mailto://example.org)"),
        ("tgram://123456:ABCDEF/987", "line 3 (tgram)"),
        ("slack://TokenA/TokenB/TokenC", "line 3 (slack)"),
        ("ntfy://secret-topic", "line 3 (ntfy)"),
        ("json://[broken", "line 3 (json)"),
        ("no url at all", "line 3"),
        ("secret token://x", "line 3"),
    ],
)
def test_only_scheme_and_host_are_shown_and_no_token_in_the_hosts_place(url, said):
    assert shown(url, 3) == said


@given(st.from_regex(r"[a-z]{2,8}://[a-z0-9]{1,8}:[A-Z]{12,20}@[a-z]{3,9}/[A-Z]{12,20}\?[A-Z]{12,20}", fullmatch=True))
def test_an_address_never_shows_its_secrets(url):
    (address,) = addresses_in(url)
    said = repr(address) + str(address) + address.shown
    assert not [word for word in url.replace("/", ":").replace("@", ":").split(":") if word.isupper() and word in said]


# --- what is kept


def owed(number, *missing, at=NOW, recorded=True):
    return Owed(ids=(number,), message=Message(title=f"m{number}", body=""), at=at, missing=missing, recorded=recorded)


def test_a_ledger_is_what_it_was_after_a_restart(tmp_path):
    path = tmp_path / "notifications.json"
    book = Book(held=True, owed=(owed(1, "a"), owed(2, "b")))
    Ledger(path).keep(book)
    assert Ledger(path).book == book
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_ledger_that_cannot_be_read_is_begun_anew(tmp_path):
    path = tmp_path / "notifications.json"
    path.write_text('{"held": "perhaps"')
    assert Ledger(path).book == Book()


def test_without_a_disk_the_ledger_is_kept_in_memory(tmp_path, caplog):
    ledger = Ledger(tmp_path / "gone" / "notifications.json")
    for held in (True, False, True):
        ledger.keep(Book(held=held))
    assert ledger.book == Book(held=True)
    assert len(caplog.records) == 1


def test_nobody_is_owed_what_is_too_old_or_whose_address_is_gone():
    old, fresh = owed(1, "a", at=NOW - KEPT - timedelta(seconds=1)), owed(2, "a", "b")
    book = Book(owed=(old, fresh, owed(3, "b"), owed(4, recorded=False))).settled(["a"], NOW)
    assert [(each.ids, each.missing) for each in book.owed] == [((2,), ("a",)), ((4,), ())]


# --- sending


class Sent:
    """A ``Sender`` that says what a test has it say."""

    def __init__(self, *answers):
        self.answers = list(answers)

    async def send(self, address, message):
        return self.answers.pop(0)


async def test_an_address_that_does_not_answer_is_left_alone_for_longer_each_time():
    clock, (address,) = Moment(), addresses_in("json://a")
    reach = Reach(Sent(*["it refused"] * 12, ""), clock)
    pauses = []
    for _ in range(12):
        assert reach.reachable([address])
        assert not await reach.send(address, Message(title="", body=""))
        assert not reach.reachable([address])
        pauses.append(reach.next_try([address]) - clock.now())
        clock.at = reach.next_try([address])
    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE
    assert "line 1 (json://a): it refused, since" in reach.faults([address])
    assert await reach.send(address, Message(title="", body=""))
    assert reach.faults([address]) == ""


async def test_what_hangs_is_given_up_and_not_sent_a_second_time_meanwhile():
    go, calls = threading.Event(), []

    def tell(url, message):
        calls.append(message.title)
        go.wait(5)
        return ""

    sender, (address,) = AppriseSender(0.05, tell), addresses_in("json://a")
    first, second = Message(title="first", body=""), Message(title="second", body="")
    assert "longer than" in await sender.send(address, first)
    assert "still on its way" in await sender.send(address, second)
    assert "longer than" in await sender.send(address, first)
    go.set()
    while await sender.send(address, first):
        await asyncio.sleep(0.01)
    assert calls == ["first"]
    assert await sender.send(address, second) == ""
    assert calls == ["first", "second"]


async def test_a_plugin_that_crashes_has_told_nobody_and_its_words_are_not_said():
    def tell(url, message):
        raise RuntimeError(url)

    (address,) = addresses_in("json://a")
    assert await AppriseSender(1, tell).send(address, Message(title="", body="")) == "Apprise failed with RuntimeError"


# --- the suite itself


def note(service, state="ok"):
    return ServiceNote(service=service, state=state, text="secret words", at=NOW)


def test_how_each_service_stands():
    units = {
        "ai-sysadmin-review-model.service": "active",
        "ai-sysadmin-executor.service": "failed",
        "ai-sysadmin-api.service": "activating",
        "ai-sysadmin-notifier.service": "active",
    }
    standing = standing_of([note("review-model", "degraded"), note("labels"), note("api")], units)
    assert standing == {
        "review-model": DEGRADED,
        "labels": WELL,
        "api": AWAY,
        "executor": AWAY,
        "notifier": WELL,
    }
    assert is_away(standing) == ["api", "executor"]


async def test_only_the_units_that_a_host_has_are_looked_at():
    systemd = FakeSystemd()
    systemd.add("ai-sysadmin-api.service", active="failed", result="exit-code")
    systemd.add("ai-sysadmin-executor.service", active="active")
    states = await states_of(systemd.status)
    assert states == {"ai-sysadmin-api.service": "failed", "ai-sysadmin-executor.service": "active"}


def test_only_what_lasts_is_trouble_and_only_what_lasts_is_its_end():
    watch = SuiteWatch()
    assert watch.look({"api": AWAY}, NOW) == []
    assert watch.look({"api": AWAY}, NOW + GRACE) == [Change("api", AWAY)]
    assert watch.look({"api": AWAY}, NOW + 2 * GRACE) == []
    assert watch.look({"api": WELL}, NOW + 2 * GRACE) == []
    assert watch.look({"api": AWAY}, NOW + 3 * GRACE) == []  # it came up and fell again
    assert watch.look({"api": WELL}, NOW + 4 * GRACE) == []
    assert watch.look({"api": WELL}, NOW + 5 * GRACE) == [Change("api")]


def test_a_restart_is_no_trouble():
    watch = SuiteWatch()
    watch.look({"api": WELL}, NOW)
    assert watch.look({"api": WELL}, NOW + GRACE) == [Change("api")]
    assert watch.look({"api": AWAY}, NOW + GRACE) == []
    assert watch.look({"api": WELL}, NOW + GRACE * 1.5) == []
    assert watch.look({"api": WELL}, NOW + GRACE * 4) == []


def test_a_trouble_that_grows_worse_is_told_again_one_that_eases_is_not():
    watch = SuiteWatch(timedelta(0))
    assert watch.look({"api": DEGRADED}, NOW) == [Change("api", DEGRADED)]
    assert watch.look({"api": AWAY}, NOW) == [Change("api", AWAY, is_worse=True)]
    assert watch.look({"api": DEGRADED}, NOW) == [Change("api", DEGRADED)]
    assert watch.look({}, NOW) == [Change("api")]


def test_the_test_notice_says_that_nothing_is_wrong():
    message = message_of([notice(occasion="suite_trouble", incident_id="", unit=TEST)])
    assert "test" in message.title and "Nothing is wrong" in message.body
