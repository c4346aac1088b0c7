"""Texts from the templates beside this module."""

from __future__ import annotations

from functools import cache
from typing import Any

import jinja2

from asdtune.core.evaluation.figures import number


def render(template: str, **values: Any) -> str:
    """Fill in a template; a value that is missing is an error."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("asdtune.core.export"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["number"] = number
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False}
    return environment
