"""The project file: one TOML, one table per stage, and the one home of all defaults."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from asdtune.core.models.registry import ITS_START, NOTHING, SCRATCH, STARTS
from asdtune.core.tables import Table
from asdtune.core.training.recipes import OF_FROZEN, RECIPES
from asdtune.core.training.settings import TrainTable
from asdtune.errors import UsageError
from asdtune.settings import (
    CollectChunkTable,
    CropsTable,
    EvaluateTable,
    ExportConfigTable,
    ModelTable,
    PathsTable,
    ProjectTable,
    SplitsTable,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_NAME = "asdtune.toml"


class Project(Table):
    """A whole project file."""

    project: ProjectTable = ProjectTable()
    paths: PathsTable = PathsTable()
    collect_chunk: CollectChunkTable = CollectChunkTable()
    crops: CropsTable = CropsTable()
    splits: SplitsTable = SplitsTable()
    model: ModelTable = ModelTable()
    train: TrainTable = TrainTable()
    evaluate: EvaluateTable = EvaluateTable()
    export_config: ExportConfigTable = ExportConfigTable()

    @property
    def recipe(self) -> TrainTable:
        """The settings of `train`: what the file says, and else what suits the network.

        Nothing is frozen that has drawn weights, or that is to thaw; and where all learns, it
        learns as slowly as by default.
        """
        of_file = self.train.model_dump(exclude_unset=True)
        recipe = dict(RECIPES[self.model.network])
        thaws = of_file.get("checkpoint") == SCRATCH or of_file.get("head_epochs")
        if thaws or of_file.get("freeze") == "none":
            recipe = {key: recipe[key] for key in recipe if key not in OF_FROZEN}
        return TrainTable(**{**recipe, **of_file})

    def override(self, values: Mapping[str, Any], *, by_key: bool = False) -> Project:
        """Put values over the file's: `{"crops.detector": "haar"}`; None leaves one as it is.

        Raises:
            UsageError: A value is out of its range; names the flag, or the key.
        """
        given = {key: value for key, value in values.items() if value is not None}
        numbers = ("splits.windows_per_sample", "splits.n_samples")
        if any(key in given for key in numbers):  # one takes the place of the other
            given = {**dict.fromkeys(numbers), **given}
        data = self.model_dump(by_alias=True, exclude_unset=True)
        for key, value in given.items():
            table, name = key.split(".")
            data.setdefault(table, {})[name] = value
        try:
            return Project.model_validate(data)
        except ValidationError as error:
            lines = [
                (f"{_key(each['loc'])}: " if by_key else _flag(each["loc"])) + _problem(each)
                for each in error.errors()
            ]
            raise UsageError("; ".join(lines)) from error


def load_project(path: Path | None) -> Project:
    """Read a project file; without a name `./asdtune.toml`, and without that the defaults.

    Raises:
        UsageError: The file is missing or wrong; all its mistakes are named at once.
    """
    if path is None:
        path = Path(DEFAULT_NAME)
        if not path.is_file():
            return Project()
    elif path.is_dir():
        path = path / DEFAULT_NAME
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise UsageError(
            "no such project file", where=path, fix="write one with: asdtune init"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UsageError(
            f"not a readable TOML file ({error})",
            where=path,
            fix="compare it with what asdtune init writes",
        ) from error
    try:
        project = Project.model_validate(data)
    except ValidationError as error:
        mistakes = [f"{path}: {_key(each['loc'])}: {_problem(each)}" for each in error.errors()]
        raise UsageError(
            "\n".join(mistakes),
            fix="mend these keys; asdtune init in an empty folder writes a file with all there are",
        ) from error
    return _relative_to(project, path.parent)


def choices(key: str) -> list[str]:
    """Give the values that a setting may have, such as those of `crops.detector`; else none."""
    if key in _NAMES:
        return _NAMES[key]
    return [str(each) for each in get_args(_field(key).annotation) if isinstance(each, str)]


def help_of(key: str) -> str:
    """Say what a setting is, with the values that it may have."""
    about, known = str(_field(key).description), choices(key)
    of_values = f" [{'|'.join(known)}]" if known else ""
    return f"{about[0].upper()}{about[1:]}{of_values}."


def flag_type(key: str) -> type:
    """Give the type of the flag of a setting; what has several values is a text."""
    annotation = _field(key).annotation
    kinds = get_args(annotation) if get_origin(annotation) is not tuple else ()
    return next((each for each in (annotation, *kinds) if each in (bool, int, float, Path)), str)


def keys_called(flag: str) -> list[str]:
    """Give the keys that a flag stands for: of `--ema-decay` `train.ema_decay`."""
    name = flag.removeprefix("--").replace("-", "_")
    return [f"{table}.{name}" for table, fields in _tables().items() if name in fields]


def parse_assignments(assignments: Iterable[str] | None) -> dict[str, Any]:
    """Read `train.ema_decay=0.999` by its key: a value as in TOML, else a text.

    Raises:
        UsageError: One is no assignment, or names a key that is not known.
    """
    known = [f"{table}.{name}" for table, fields in _tables().items() for name in fields]
    values: dict[str, Any] = {}
    for text in assignments or ():
        key, is_given, value = (part.strip() for part in text.partition("="))
        if not is_given or key not in known:
            problem = f"no such key: {key}{_suggestion(key, known, n_shown=0)}"
            raise UsageError(
                problem if key not in known else f"no value for {key}", where=f"--set {text}",
                fix="give --set TABLE.KEY=VALUE, as in the project file; example.toml lists them",
            )  # fmt: skip
        try:
            values[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            values[key] = value
    return values


def render(project: Project) -> str:
    """Write a project file with all settings there are, each with its default and a comment.

    Args:
        project: Of which what is set stands in the place of a default.
    """
    of_recipes = {f"train.{name}" for recipe in RECIPES.values() for name in recipe}
    is_set = project.model_dump(mode="json", by_alias=True, exclude_unset=True)
    lines = [
        "# The project file of asdtune: one table per stage, shared by all commands.",
        "# Lines are defaults: delete what you do not change. Flags win over this file.",
        "# Paths are relative to this file.",
    ]
    for table, fields in _tables().items():
        lines += ["", f"[{table}]"]
        for name, info in fields.items():
            key, known = f"{table}.{name}", is_set.get(table, {})
            value, [example] = known.get(name), info.examples or [None]
            mark = ""
            if value in (None, []):
                is_open = info.default in (None, []) or key in of_recipes  # the network decides
                mark = "# " if is_open or name in known else ""
                value = example if info.default in (None, []) else info.default
            text = json.dumps(value, ensure_ascii=False, default=Path.as_posix)
            about = f"{info.description}{_others(name) if key in of_recipes else ''}"
            of_values = [] if key in _NAMES else choices(key)
            about += f" ({', '.join(of_values)})" if of_values else ""
            lines.append(f"{f'{mark}{name} = {text}':<24}  # {about}")
    return "\n".join(lines) + "\n"


def _others(name: str) -> str:
    """Say what networks other than TalkNet begin with."""
    values: dict[str, list[str]] = {}
    for network, recipe in RECIPES.items():
        if name in recipe:
            values.setdefault(str(recipe[name]), []).append(network)
    return "".join(f"; {', '.join(networks)}: {value}" for value, networks in values.items())


_NAMES = {  # or a file, or another device
    "train.device": ["auto", "cpu", "cuda", "mps"],
    "train.checkpoint": [*STARTS, SCRATCH],
    "evaluate.baseline": [ITS_START, NOTHING, *STARTS],
}


def _tables() -> dict[str, dict[str, FieldInfo]]:
    """Give the settings of every table, by the names that they have in the file."""
    tables = {}
    for name, info in Project.model_fields.items():
        assert isinstance(info.annotation, type)
        tables[info.alias or name] = dict(info.annotation.model_fields)
    return tables


def _field(key: str) -> FieldInfo:
    table, name = key.split(".")
    return _tables()[table][name]


def _relative_to(project: Project, folder: Path) -> Project:
    """Let relative paths begin at the folder of the project file."""
    paths = {name: folder / path for name, path in project.paths}
    moved: dict[str, Table] = {"paths": PathsTable(**paths)}
    for table, name in (("crops", "detector_model"), ("train", "checkpoint"),
                        ("evaluate", "baseline")):  # fmt: skip
        of_table = getattr(project, table)
        value = getattr(of_table, name)
        if value not in (None, *STARTS, SCRATCH, ITS_START, NOTHING):
            path = folder / value
            moved[table] = of_table.model_copy(
                update={name: str(path) if isinstance(value, str) else path}
            )
    return project.model_copy(update=moved)


def _key(location: Iterable[int | str]) -> str:
    return ".".join(str(part) for part in location)


def _flag(location: tuple[int | str, ...]) -> str:
    """Name the flag at fault, if it is a single one."""
    return f"--{str(location[1]).replace('_', '-')}: " if len(location) > 1 else ""


def _problem(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        *table, name = error["loc"]
        known = _tables()[table[0]] if table else _tables()
        return f"unknown key{_suggestion(str(name), list(known))}"
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "value_error":
        return message
    return f"{message[0].lower()}{message[1:]}, found {error['input']!r}"


def _suggestion(name: str, known: list[str], n_shown: int | None = None) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; known are {', '.join(known[:n_shown])}" if n_shown != 0 else ""
