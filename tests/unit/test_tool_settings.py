"""The settings of tools: what cannot be meant is refused, with what would be right."""

import re

import pytest
from pydantic import ValidationError

from ai_sysadmin.core.tool_settings import DeclaredTool, Tools

GOOD = {"name": "pool", "description": "d", "argv": ["/bin/zpool", "status", "{pool}"], "parameters": {"pool": {}}}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"argv": ["zpool", "{pool}"]}, "whole path"),
        ({"argv": ["/bin/{pool}"]}, "whole path"),
        ({"argv": []}, "at least 1"),
        ({"argv": ["/bin/zpool", "{other}", "{pool}"]}, "{other}"),
        ({"argv": ["/bin/zpool"]}, "'pool' does not stand in argv"),
        ({"name": "Zpool"}, "pattern"),
        ({"name": "z pool"}, "pattern"),
        ({"description": ""}, "at least 1"),
        ({"timeout_seconds": 0}, "greater than 0"),
        ({"timeout_seconds": 500}, "less than or equal to 120"),
        ({"parameters": {"pool": {"pattern": "("}}}, "not a regular expression"),
        ({"parameters": {"pool": {"pattern": ".*"}}}, "an option such as '--help', or nothing"),
        ({"parameters": {"pool": {"pattern": "[a-z-]+"}}}, "an option such as '--help'"),
        ({"parameters": {"pool": {"type": "choice"}}}, "without `choices`"),
        ({"parameters": {"pool": {"type": "integer", "minimum": 5, "maximum": 4}}}, "above maximum"),
        ({"parameters": {"pool": {"kind": "string"}}}, "Extra inputs"),
    ],
)
def test_a_declared_tool_that_cannot_be_meant_is_refused(changes, says):
    DeclaredTool.model_validate(GOOD)
    with pytest.raises(ValidationError, match=re.escape(says)):
        DeclaredTool.model_validate(GOOD | changes)


def test_two_tools_have_two_names():
    with pytest.raises(ValidationError, match="two tools are called 'pool'"):
        Tools.model_validate({"declared": [GOOD, GOOD]})


def test_files_are_named_by_their_whole_path():
    Tools.model_validate({"files": ["/srv/**"], "never_files": ["*.env"]})
    with pytest.raises(ValidationError, match=r"'\*\.log' does not begin with a slash"):
        Tools.model_validate({"files": ["*.log"]})
