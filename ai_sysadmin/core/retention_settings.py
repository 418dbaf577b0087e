"""How long what is over is kept."""

from pydantic import Field, PositiveInt

from ai_sysadmin.core.section import Section


class Retention(Section):
    """What is forgotten of incidents and actions. What is live, or still under way, never is."""

    incident_days: float = Field(
        90, ge=1, allow_inf_nan=False, description="An incident that ended so long ago is forgotten, with all of it."
    )
    most_incidents: PositiveInt = Field(
        10_000, description="So many incidents are kept; beyond, those that ended first go, a day after their end."
    )
    most_lines: int = Field(
        1000, ge=100, description="So many lines of one incident's story are kept: its first ones and its latest."
    )
    most_rounds: int = Field(
        50, ge=5, description="So many reviews, investigations and ended actions of one incident are kept, the latest."
    )
    action_days: float = Field(
        90, ge=1, allow_inf_nan=False, description="What was done for no incident is kept so long after its end."
    )
    most_actions: PositiveInt = Field(5000, description="So many actions that belong to no incident are kept.")
    most_past_documents: int = Field(
        1000, ge=0, description="Of so many forgotten incidents, what was learned stays as knowledge: the latest."
    )
