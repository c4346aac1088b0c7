"""The project file: one TOML, one table per stage, and the one home of all defaults."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from asdtune.core.export.licences import find_licence
from asdtune.core.models.registry import (
    ITS_START,
    LIGHT_ASD,
    LR_ASD,
    NOTHING,
    SCRATCH,
    STARTS,
    TALKNET,
)
from asdtune.core.prepare.cluster import is_address
from asdtune.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_NAME = "asdtune.toml"


def _odd(value: int) -> int:
    if value < 1 or value % 2 == 0:
        raise ValueError("must be odd and positive, so that a window has a centre")
    return value


def _ratio(value: tuple[float, float, float]) -> tuple[float, float, float]:
    if min(value) < 0 or value[0] <= 0:
        raise ValueError("shares must be at least 0, and that of training above 0")
    if not any(abs(sum(value) / whole - 1) < 0.01 for whole in (1, 100)):
        raise ValueError(f"shares must add up to 1 (or to 100 percent), not to {sum(value):g}")
    return value


def _address(value: str) -> str:
    if not is_address(value):
        raise ValueError(f"must be like tcp://host:8786, found {value!r}")
    return value


def _link(value: str) -> str:
    link = value.strip()
    if not re.fullmatch(r"https?://[^\s|<>\[\]\"'`]+", link):
        raise ValueError(
            "must be one link that begins with http:// or https://, without white space, quotes "
            f"and any of |<>[] (write a space as %20), found {value!r}"
        )
    return link


def _authors(value: list[str]) -> list[str]:
    if not all(name.strip(" ,") for name in value):
        raise ValueError('an author has no name: write each as "Family, Given", or an institution')
    return list(dict.fromkeys(value))


def _without_blanks(value: Any) -> Any:
    """Let what was left empty count as not given."""
    if isinstance(value, list):
        return [item for item in map(_without_blanks, value) if item is not None]
    return value.strip() or None if isinstance(value, str) else value


_Words = Annotated[str | None, BeforeValidator(_without_blanks)]
_DASHED: tuple[str, ...] = ("collect_chunk", "export_config")


class _Table(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        populate_by_name=True,
        alias_generator=lambda name: name.replace("_", "-") if name in _DASHED else name,
    )


class ProjectTable(_Table):
    """What all stages share."""

    language: str | None = None
    window_size: Annotated[int, AfterValidator(_odd)] = 51
    seed: Annotated[int, Field(ge=0)] = 0
    workers: Annotated[int, Field(ge=0)] = 0
    scheduler: Annotated[str, AfterValidator(_address)] | None = None
    audio_track: PositiveInt | None = None


class PathsTable(_Table):
    """Where everything lies."""

    source: Path = Path("raw")
    video_dir: Path = Path("videos")
    face_crops_dir: Path = Path("face_crops")
    mfccs_dir: Path = Path("mfccs")
    splits_dir: Path = Path("splits")
    exps_dir: Path = Path("exps")
    report_dir: Path = Path("report")
    preview_dir: Path = Path("preview")
    export_dir: Path = Path("export")


class CollectChunkTable(_Table):
    """Settings of `collect-chunk`."""

    chunk_seconds: Annotated[float, Field(ge=0.2)] = 20.0
    min_chunk_seconds: Annotated[float, Field(ge=0.04)] = 2.04
    split_ratio: Annotated[tuple[float, float, float], AfterValidator(_ratio)] = (0.7, 0.15, 0.15)

    @model_validator(mode="after")
    def _in_order(self) -> CollectChunkTable:
        if self.min_chunk_seconds > self.chunk_seconds:
            raise ValueError("min_chunk_seconds must be at most chunk_seconds")
        return self


class CropsTable(_Table):
    """Settings of `crops`."""

    detector: Literal["yunet", "haar", "retinaface"] = "yunet"
    detector_model: Path | None = None
    detection_size: Annotated[int, Field(ge=32)] = 320
    detect_every: PositiveInt = 12
    min_score: Annotated[float, Field(ge=0, le=1)] = 0.7
    max_gap_frames: Annotated[int, Field(ge=0)] = 12


class SplitsTable(_Table):
    """Settings of `splits`."""

    windows_per_sample: PositiveInt | None = 50
    n_samples: PositiveInt | None = None
    kinds: Literal["all", "tutorial"] = "all"
    silent_face_share: Annotated[float, Field(ge=0, lt=1)] = 0.25
    min_speech_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    all_clips: bool = False

    @model_validator(mode="before")
    @classmethod
    def _the_other_number_gives_way(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("n_samples") is not None:
            return {"windows_per_sample": None, **data}
        return data

    @model_validator(mode="after")
    def _one_number(self) -> SplitsTable:
        if None not in (self.windows_per_sample, self.n_samples):
            raise ValueError("give either windows_per_sample or n_samples")
        return self

    @property
    def of_windows(self) -> dict[str, Any]:
        """Give what `make_splits` takes of these settings."""
        settings = self.model_dump(exclude={"kinds"})
        return settings if self.kinds == "all" else {**settings, "silent_face_share": 0.0}


class ModelTable(_Table):
    """Which network is trained."""

    network: Literal["talknet", "light-asd", "lr-asd"] = "talknet"


class TrainTable(_Table):
    """Settings of `train`; the defaults are those of TalkNet, others have a recipe below."""

    checkpoint: str = "english"
    learning_rate: PositiveFloat = 1e-4
    lr_decay: Annotated[float, Field(gt=0, le=1)] = 0.95
    total_epochs: PositiveInt = 10
    batch_size: PositiveInt = 32
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool = False
    freeze: Literal["none", "visual-frontend", "frontends"] = "none"
    head_epochs: NonNegativeInt = 0
    temporal_epochs: NonNegativeInt | None = None
    batchnorm: Literal["adapt", "frozen"] = "adapt"
    augment: bool = False
    time_mask_frames: NonNegativeInt = 0
    balance_speakers: bool = False
    encoder_rate: PositiveFloat = 1.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    contrast: NonNegativeFloat = 0.0
    distillation: NonNegativeFloat = 1.0
    warmup_steps: NonNegativeInt = 0
    weight_decay: NonNegativeFloat = 0.0
    max_gradient_norm: NonNegativeFloat = 0.0
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    patience: NonNegativeInt = 0
    save_minutes: PositiveFloat = 5.0


_SMALL = {  # for little data, from published weights; found by tests.bench.recipes
    "learning_rate": 1e-3,
    "total_epochs": 12,
    "freeze": "visual-frontend",
    "batchnorm": "frozen",
    "weight_decay": 0.01,
}
_OF_FROZEN = ("freeze", "batchnorm", "learning_rate")  # found for frozen encoders only
RECIPES: dict[str, dict[str, Any]] = {  # what differs from TalkNet's
    TALKNET: {},
    LIGHT_ASD: {"checkpoint": "light-asd-ava", **_SMALL},
    LR_ASD: {"checkpoint": "lr-asd-ava", **_SMALL},
}


class EvaluateTable(_Table):
    """Settings of `evaluate`."""

    batch_size: PositiveInt = 32
    baseline: str = ITS_START
    toolkit_clips: NonNegativeInt = 8


class ExportConfigTable(_Table):
    """Settings of `export-config`: what only a person knows."""

    checkpoint_url: Annotated[str, AfterValidator(_link)] | None = None
    authors: Annotated[list[str], BeforeValidator(_without_blanks), AfterValidator(_authors)] = []
    license: Annotated[
        Annotated[str, AfterValidator(find_licence)] | None, BeforeValidator(_without_blanks)
    ] = None
    recordings: _Words = None
    consent: _Words = None
    data: _Words = None
    recipe: _Words = None
    started_from: _Words = None


class Project(_Table):
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
            recipe = {key: recipe[key] for key in recipe if key not in _OF_FROZEN}
        return TrainTable(**{**recipe, **of_file})

    def override(self, values: Mapping[str, Any]) -> Project:
        """Put flags over the file: `{"crops.detector": "haar"}`; None leaves a value as it is.

        Raises:
            UsageError: A value is out of its range; names the flag.
        """
        tables: dict[str, dict[str, Any]] = {}
        for key, value in values.items():
            if value is not None:
                table, name = key.split(".")
                tables.setdefault(table, {})[name] = value
        numbers = {"windows_per_sample": None, "n_samples": None}
        if numbers.keys() & tables.get("splits", {}).keys():
            tables["splits"] = {**numbers, **tables["splits"]}  # one takes the place of the other
        data = {}
        for name, info in type(self).model_fields.items():
            table = info.alias or name
            of_file = getattr(self, name).model_dump(exclude_unset=True)
            data[table] = {**of_file, **tables.get(table, {})}
        try:
            return Project.model_validate(data)
        except ValidationError as error:
            lines = [f"{_flag(each['loc'])}{_problem(each)}" for each in error.errors()]
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
    """Give the values that a setting may have, such as those of `crops.detector`."""
    if key == "train.checkpoint":  # or a file
        return [*STARTS, SCRATCH]
    if key == "evaluate.baseline":  # or a file
        return [ITS_START, NOTHING, *STARTS]
    table, name = key.split(".")
    model: type[BaseModel] = type(getattr(Project(), table))
    return [str(value) for value in get_args(model.model_fields[name].annotation)]


def _relative_to(project: Project, folder: Path) -> Project:
    """Let relative paths begin at the folder of the project file."""
    paths = {
        name: folder / getattr(project.paths, name) for name in type(project.paths).model_fields
    }
    crops, train, evaluate = project.crops, project.train, project.evaluate
    if crops.detector_model is not None:
        crops = crops.model_copy(update={"detector_model": folder / crops.detector_model})
    if _is_path(train.checkpoint):
        train = train.model_copy(update={"checkpoint": str(folder / train.checkpoint)})
    if _is_path(evaluate.baseline):
        evaluate = evaluate.model_copy(update={"baseline": str(folder / evaluate.baseline)})
    return project.model_copy(
        update={
            "paths": PathsTable(**paths),
            "crops": crops,
            "train": train,
            "evaluate": evaluate,
        }
    )


def _is_path(checkpoint: str) -> bool:
    return checkpoint not in (*STARTS, SCRATCH, ITS_START, NOTHING)


def _key(location: Iterable[int | str]) -> str:
    return ".".join(str(part) for part in location)


def _flag(location: tuple[int | str, ...]) -> str:
    """Name the flag at fault, if it is a single one."""
    return f"--{str(location[1]).replace('_', '-')}: " if len(location) > 1 else ""


def _problem(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        *table, name = error["loc"]
        return f"unknown key{_suggestion(str(name), _known_keys(table))}"
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "value_error":
        return message
    return f"{message[0].lower()}{message[1:]}, found {error['input']!r}"


def _known_keys(table: list[int | str]) -> list[str]:
    model: type[BaseModel] = Project
    for part in table:
        by_alias = {info.alias or name: info for name, info in model.model_fields.items()}
        annotation = by_alias[str(part)].annotation
        assert isinstance(annotation, type)
        model = annotation
    return [info.alias or name for name, info in model.model_fields.items()]


def _suggestion(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"
