"""Pages of the templates beside this module, each one file that needs nothing else."""

from __future__ import annotations

from typing import Any

import jinja2

from asdtune import __version__
from asdtune.core.evaluation import charts


def render(template: str, **values: Any) -> str:
    """Fill in a template; what is in the values is text, and never taken for HTML."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("asdtune.core.evaluation"), autoescape=True,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template(template).render(charts=charts, version=__version__, **values)
