"""What the JSON of several nouns has in common: limits of lists, UTC times, and the names of things in both languages."""

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import Path, Query
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

LIST_DEFAULT: Final = 100
LIST_MAX: Final = 500
LARGEST_ID: Final = 2**63 - 1


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


Moment = Annotated[AwareDatetime, AfterValidator(_utc)]
"""A time that names its zone, given and told in UTC."""

Text = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
Gtin = Annotated[str, Field(pattern=r"^[0-9]{14}$", examples=["06901234567892"])]
Limit = Annotated[int, Query(ge=1, le=LIST_MAX, description="At most so many")]
Id = Annotated[int, Path(ge=1, le=LARGEST_ID)]
Name = Annotated[str, Path(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
Filter = Annotated[str | None, Query(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]


class Asked(BaseModel):
    """A request: fields that are not known are refused."""

    model_config = ConfigDict(extra="forbid")


class Told(BaseModel):
    """An answer: read from rows."""

    model_config = ConfigDict(extra="ignore")


class Named(Told):
    """A thing with a name in Chinese and in English."""

    name_zh: str
    name_en: str
