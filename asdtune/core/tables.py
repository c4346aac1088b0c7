"""Tables of settings: every field with its default, its limits, and what help says of it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

_DASHED = ("collect_chunk", "export_config")


class Table(BaseModel):
    """A table: unknown keys are refused, and nothing changes once it is read."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        populate_by_name=True,
        alias_generator=lambda name: name.replace("_", "-") if name in _DASHED else name,
    )


def setting(default: Any, about: str, example: Any = None, **limits: Any) -> Any:
    """Give a field with its default, its limits, and what help and example.toml say of it."""
    return Field(default, description=about, examples=[example], **limits)
