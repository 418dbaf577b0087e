"""What every part of the settings is."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen part of the settings that refuses what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=False)
