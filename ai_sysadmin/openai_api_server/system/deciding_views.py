"""What is sent to propose an action and to decide over one: records without the machinery behind them."""

from typing import Annotated

from pydantic import Field

from ai_sysadmin.core.records import Record

Text = Annotated[str, Field(max_length=16_384)]


class NewAction(Record):
    """An action to be proposed: a name of the catalogue, its arguments as texts, and a reason for people to read."""

    name: str = Field(pattern=r"^[a-z_0-9]{1,64}$")
    arguments: dict[Annotated[str, Field(max_length=64)], Text] = Field(default_factory=dict, max_length=16)
    why: str = Field(default="", max_length=500)


class Deciding(Record):
    """A person's yes or no to what they saw: ``digest`` is that of the action as it was shown."""

    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    why: str = Field(default="", max_length=1000)
