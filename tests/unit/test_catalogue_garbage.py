"""Nix garbage: whatever the generations are, nothing goes that anybody could roll back to."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_sysadmin.actions.catalogue.nix_garbage import CollectNixGarbage
from ai_sysadmin.actions.ladder import SUBJECT
from ai_sysadmin.core.acting import Risk
from ai_sysadmin.sources.nix_profiles import NumberedSystem, doomed, read_system_profile
from tests.acting import host_at

SYSTEMS = [f"/nix/store/{letter * 3}-nixos-system-host" for letter in "abcdefgh"]
GENERATIONS = st.lists(
    st.builds(NumberedSystem, number=st.integers(1, 60), system=st.sampled_from(["", *SYSTEMS])),
    max_size=25,
    unique_by=lambda each: each.number,
)


@settings(max_examples=500)
@given(GENERATIONS, st.data(), st.integers(1, 8))
def test_no_rollback_target_ever_goes(generations, data, keep):
    numbers = [each.number for each in generations]
    default = data.draw(st.sampled_from([0, 99, *numbers]))
    current, booted, good = (data.draw(st.sampled_from(["", "/nix/store/elsewhere", *SYSTEMS])) for _ in range(3))
    gone = set(doomed(generations, default, {current, booted, good}, keep))

    whole = sorted((each for each in generations if each.system), key=lambda each: each.number)
    stay = [each for each in whole if each.number not in gone]
    assert gone <= {each.number for each in whole}
    assert default not in gone
    assert not {each.system for each in whole if each.number in gone} & {current, booted, good}
    assert [each.number for each in whole[-keep:]] == [each.number for each in stay[-keep:]][-len(whole[-keep:]) :]
    assert len(stay) >= min(keep, len(whole))
    # what `nixos-rebuild --rollback` leads to, from the next boot's generation and from those that run or ran well
    for base in [each.number for each in whole if each.number == default or each.system in {current, booted, good}]:
        earlier = [each.number for each in whole if each.number < base]
        assert not earlier or max(earlier) not in gone


@given(GENERATIONS, st.integers(1, 8))
def test_all_others_go(generations, keep):
    whole = sorted(each.number for each in generations if each.system)
    assert doomed(generations, 0, (), keep) == tuple(whole[: -max(keep, 2)])


@settings(max_examples=100)
@given(GENERATIONS, st.integers(1, 5), st.data())
def test_the_order_of_the_links_does_not_matter(generations, keep, data):
    mixed = data.draw(st.permutations(generations))
    assert doomed(generations, 0, SYSTEMS[:1], keep) == doomed(mixed, 0, SYSTEMS[:1], keep)


def system(root: Path, name: str) -> str:
    path = f"/nix/store/{name}-nixos-system-host"
    (root / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
    return path


def link(root: Path, path: str, target: str) -> None:
    place = root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


PROFILES = "/nix/var/nix/profiles"
ROOTS = "/nix/var/nix/gcroots"


@pytest.fixture
def nixos(tmp_path: Path) -> Path:
    """Generations 1 to 12 without 4; 12 runs and is the default, 3 was booted, 6 was the last good one."""
    for number in (1, 2, 3, *range(5, 13)):
        link(tmp_path, f"{PROFILES}/system-{number}-link", system(tmp_path, f"g{number}"))
    link(tmp_path, f"{PROFILES}/system", "system-12-link")
    link(tmp_path, f"{PROFILES}/default-3-link", "/nix/store/x")
    link(tmp_path, "/run/current-system", system(tmp_path, "g12"))
    link(tmp_path, "/run/booted-system", system(tmp_path, "g3"))
    link(tmp_path, f"{ROOTS}/current-system", "/run/current-system")
    link(tmp_path, f"{ROOTS}/booted-system", "/run/booted-system")
    link(tmp_path, f"{ROOTS}/ai-sysadmin/last-good", system(tmp_path, "g6"))
    return tmp_path


async def test_the_running_booted_and_last_good_generation_stay_and_those_before_them(nixos):
    host = host_at(nixos, {"nixos": {"keep_generations": 2}})
    action = CollectNixGarbage()
    seen = await action.observe(host)
    assert action.obstacle(seen) is None
    assert action.risk(seen) is Risk.DESTRUCTIVE
    assert seen.doomed == (1, 7, 8, 9, 10)
    delete, collect = action.plan(seen).run.commands
    assert delete == ("nix-env", "--profile", f"{PROFILES}/system", "--delete-generations", "1", "7", "8", "9", "10")
    assert collect == ("nix-store", "--gc")
    assert action.read(seen.model_dump(mode="json")) == seen


async def test_what_a_change_under_way_holds_stays(nixos):
    link(nixos, f"{ROOTS}/ai-sysadmin/pending/previous", system(nixos, "g8"))
    link(nixos, f"{ROOTS}/ai-sysadmin/pending/activated", system(nixos, "fresh"))
    link(nixos, f"{ROOTS}/ai-sysadmin/dangling", "/nix/store/gone")
    action = CollectNixGarbage()
    seen = await action.observe(host_at(nixos, {"nixos": {"keep_generations": 1}}))
    assert seen.doomed == (1, 9, 10)
    (check,) = action.plan(seen).checks
    assert "/nix/store/fresh-nixos-system-host" in check.commands[0]


async def test_links_that_lead_nowhere_stay_and_do_not_count(nixos):
    for number in (20, 21, 22):
        link(nixos, f"{PROFILES}/system-{number}-link", f"/nix/store/gone-{number}")
    link(nixos, f"{PROFILES}/system-0x1-link", "/etc")
    link(nixos, f"{PROFILES}/system-13-link", "/etc")
    seen = await CollectNixGarbage().observe(host_at(nixos, {"nixos": {"keep_generations": 2}}))
    assert seen.doomed == (1, 7, 8, 9, 10)


async def test_nothing_is_collected_while_nothing_holds_what_was_booted(nixos):
    (nixos / "nix/var/nix/gcroots/booted-system").unlink()
    action = CollectNixGarbage()
    host = host_at(nixos)
    assert action.obstacle(await action.observe(host)) is None  # generation 3 holds it, and stays
    (nixos / "run/booted-system").unlink()
    link(nixos, "/run/booted-system", system(nixos, "elsewhere"))
    assert "nothing would hold /nix/store/elsewhere" in (action.obstacle(await action.observe(host)) or "")


async def test_nothing_is_collected_while_nobody_knows_what_runs(nixos):
    (nixos / "run/current-system").unlink()
    action = CollectNixGarbage()
    assert "what runs is not known" in (action.obstacle(await action.observe(host_at(nixos))) or "")


def test_it_never_runs_beside_an_activation():
    assert CollectNixGarbage().subject == SUBJECT


async def test_a_host_without_nixos_says_so(tmp_path):
    action = CollectNixGarbage()
    seen = await action.observe(host_at(tmp_path))
    assert "no NixOS" in (action.obstacle(seen) or "")
    assert seen.doomed == ()


async def test_what_is_gone_though_it_had_to_stay_fails_the_check_and_the_other_way_round(nixos):
    host = host_at(nixos, {"nixos": {"keep_generations": 2}})
    action = CollectNixGarbage()
    before = await action.observe(host)
    assert "still there" in (action.shortfall(before, before) or "")
    for number in before.doomed:
        (nixos / f"nix/var/nix/profiles/system-{number}-link").unlink()
    link(nixos, f"{PROFILES}/system-13-link", system(nixos, "g13"))  # somebody builds meanwhile
    assert action.shortfall(before, await action.observe(host)) is None
    (nixos / "nix/var/nix/profiles/system-11-link").unlink()
    assert "generation 11" in (action.shortfall(before, await action.observe(host)) or "")


def test_a_profile_is_read_through_its_relative_links(nixos):
    profile = read_system_profile(nixos)
    assert profile is not None
    assert profile.default == 12
    assert [each.number for each in profile.generations] == [1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12]


def test_the_page_has_an_example():
    action, seen = CollectNixGarbage.example()
    assert action.obstacle(seen) is None
    assert seen.doomed == (141, 142, 143)
    assert "141, 142, 143" in action.plan(seen).does
