"""What facts are made of: ids, names, texts, amounts; and the base class of all but one."""

import re
from functools import lru_cache
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

_NAMED = {"type": "string", "minLength": 1, "maxLength": 128, "pattern": r"^[^\x00-\x1f\x7f]+$"}
Name = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]

# Teams and members stand in addresses, keys and log lines. What can't stand there, or can't be seen there, is in no id
# that comes in; facts themselves are read as they were stored.
_IN_NO_ID = r"\x00-\x20\x7f-\xa0\xad\u1680\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff/\\?#%*"
ID = rf"^[^.{_IN_NO_ID}][^{_IN_NO_ID}]*$"
ID_MAX = 128
NO_ID = (
    r"an id has 1 to 128 characters, no space, no control character, none of / \ ? # % *, and no dot at its beginning"
)
_LIKE_AN_ID = re.compile(ID).fullmatch


@lru_cache(maxsize=100_000)  # the same teams and members come with every usage
def is_id(text: str) -> bool:
    """True for what a team or a member may be called by programs."""
    return len(text) <= ID_MAX and _LIKE_AN_ID(text) is not None


def _only_an_id(text: str) -> str:
    if not is_id(text):
        raise PydanticCustomError("no_id", NO_ID)
    return text


Id = Annotated[
    str,
    StringConstraints(min_length=1, max_length=ID_MAX),
    AfterValidator(_only_an_id),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": ID_MAX, "pattern": ID}),
]
Text = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00]*$")]
Attributes = Annotated[
    dict[Name, Name],
    WithJsonSchema({"type": "object", "propertyNames": _NAMED, "additionalProperties": _NAMED}),
]
QUANTITIES_MAX = 20  # of one usage
_QUANTITY_NAME = {"maxLength": 64, "pattern": r"^[a-z][a-z0-9_]*$"}
QuantityName = Annotated[str, StringConstraints(max_length=64, pattern=r"^[a-z][a-z0-9_]*$")]
# What one use took of several things, by their names: exact decimals, {"input_token": "1200", "output_token": "350"}.
Quantities = Annotated[
    dict[QuantityName, str],
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": _QUANTITY_NAME,
            "additionalProperties": {"type": "string"},
            "minProperties": 1,
            "maxProperties": QUANTITIES_MAX,
        }
    ),
]
Currency = Annotated[str, StringConstraints(pattern=r"^[a-z]{3}$")]
Cents = Annotated[int, Field(strict=True, ge=0, description="Minor units of the currency.")]

RATE_CARD_TEAM = "creditwell"  # rate cards belong to nobody's team; their subject is the product itself
OURS = "creditwell:"  # sources that begin so are written by Creditwell alone
AMENDMENTS = "creditwell:amendments"  # of what takes a usage back because another one replaces it


class Fact(BaseModel):
    """Something that happened and stays so."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_timedelta="iso8601")
    type: ClassVar[str]

    def __init_subclass__(cls, *, type: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.type = type

    def body(self) -> bytes:
        """The bytes that the log keeps: JSON without spaces, fields in the order of the model, nulls left out."""
        return self.__pydantic_serializer__.to_json(self, exclude_none=True)
