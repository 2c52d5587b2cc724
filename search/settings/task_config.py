"""The definition of a task: where its samples lie, how they are read, and how answers are scored."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, model_validator

from search.settings.config_types import (
    Count,
    Distinct,
    NonNegative,
    Number,
    PathText,
    Positive,
    Section,
)
from spaces.nearest import near_miss
from trainables.data.samples import SPLITS, Split
from trainables.data.task_spec import Format, Origin, TaskSpec
from trainables.metrics import METRICS, Decoding, MetricSpec
from trainables.scoring.lm_eval_task import LM_EVAL_SPLITS

# What a task of lm-eval leaves to be said.
_BESIDE_LM_EVAL: Final = ("lm_eval", "limit", "about")


def _metric(value: Any) -> Any:
    """Accept `anls` for `{name: anls}`."""
    return {"name": value} if isinstance(value, str) else value


class MetricConfig(Section):
    """How answers are scored, with the metric's options."""

    name: str = Field("exact_match", description="A key of `trainables.metrics.METRICS`.")
    tolerance: NonNegative | None = Field(
        None, description="Largest error that counts as right, as a share of the reference."
    )
    minutes: NonNegative | None = Field(
        None, description="Largest difference of clock times that counts as right."
    )

    @model_validator(mode="after")
    def _known(self) -> MetricConfig:
        if self.name not in METRICS:
            near = near_miss(self.name, METRICS)
            hint = f"did you mean {near!r}?" if near else f"expected one of: {', '.join(sorted(METRICS))}"
            raise ValueError(f"unknown metric {self.name!r}: {hint}")
        for option, _ in self.spec.options:
            if option not in (known := METRICS[self.name].options):
                has = f"its options are {', '.join(known)}" if known else "it takes none"
                raise ValueError(f"the metric {self.name!r} has no option {option!r}: {has}")
        return self

    @property
    def spec(self) -> MetricSpec:
        """The metric as the workers take it."""
        given = {"tolerance": self.tolerance, "minutes": self.minutes}
        return MetricSpec(self.name, tuple((key, value) for key, value in given.items() if value is not None))


class DecodingConfig(Section):
    """How answers are written, greedily, for metrics that need them written."""

    max_new_tokens: Count | None = Field(
        None, description="Tokens at most; null: the longest accepted answer's and 8 more."
    )
    stop: Distinct[Annotated[str, Field(min_length=1)]] = Field(
        (), description="Texts before which an answer ends; an empty one would end all at once."
    )

    @property
    def spec(self) -> Decoding:
        """The same as plain values."""
        return Decoding(max_new_tokens=self.max_new_tokens, stop=self.stop)


class DivideConfig(Section):
    """How samples are divided between splits that name the same origin."""

    train: NonNegative = Field(0.8, description="Share of the samples, relative to the others.")
    search: NonNegative = Field(0.1, description="Share of the samples, relative to the others.")
    confirm: NonNegative = Field(0.1, description="Share of the samples, relative to the others.")
    seed: Annotated[int, Field(ge=0)] = Field(0, description="Another seed divides otherwise.")

    @property
    def shares(self) -> dict[Split, float]:
        """Split -> its share."""
        return {"train": self.train, "search": self.search, "confirm": self.confirm}


class AboutConfig(Section):
    """What is known of a task's data, for people: nothing is computed from it."""

    title: str = Field(description="Name by which papers call it.")
    url: str | None = Field(None, description="Where it is published.")
    paper: str | None = Field(None, description="Paper that made it.")
    licence: str = Field("unknown", description="As its publisher names it.")
    size: dict[str, Count | Literal["unknown"]] = Field(
        {}, description="The data set's own name of a split -> its rows."
    )
    source_of_prompt: str | None = Field(None, description="Where the prompt comes from.")
    source_of_limit: str | None = Field(
        None, description="Where `decoding.max_new_tokens` comes from; null: where the prompt does."
    )
    source_of_schema: str | None = Field(None, description="Where the columns are known from.")
    tried: str | None = Field(
        None, description="When the definition was last run against the real data; null: never."
    )
    needs: str | None = Field(
        None, description="What must be supplied before the data can be read; told where it is missing."
    )
    notes: Distinct[str] = Field((), description="What else a reader of scores should know.")


def _values(value: Any) -> Any:
    """Accept one value for a list of one."""
    return tuple(value) if isinstance(value, list) else (value,)


OneOrMore = Annotated[tuple[str | int | bool, ...], BeforeValidator(_values), Field(min_length=1)]


class LmEvalConfig(Section):
    """A task of EleutherAI's lm-eval, which defines and scores it."""

    task: str = Field(description="lm-eval's name of the task.")
    task_folder: PathText | None = Field(
        None, description="Folder of lm-eval's YAML definitions of your own; null: those that it ships."
    )
    run_code: bool = Field(
        False, description="Whether what that folder says may run as code, as lm-eval makes it."
    )
    num_fewshot: Annotated[int, Field(ge=0)] | None = Field(
        None, description="Examples before each question; null: as the task says, else none."
    )
    chat_template: bool = Field(False, description="Whether the model's chat template writes the questions.")
    metric: str | None = Field(
        None,
        description="lm-eval's metric, where it has several filters `metric,filter`; null: the first usable.",
    )
    confirm: Annotated[Number, Field(ge=0, lt=1)] = Field(
        0.5,
        description="Share of the documents that is kept from the search, to confirm finalists; none is "
        "where no finalists are trained.",
    )


class TaskConfig(Section):
    """A task of the user's own, or a card's."""

    about: AboutConfig | None = Field(None, description="What is known of the data, for people.")

    lm_eval: LmEvalConfig | None = Field(
        None, description="A task of lm-eval, which then says all that the other keys would."
    )
    card: str | None = Field(None, description="Card that this one starts from; keys given here replace its.")
    source: PathText | None = Field(
        None, description="File, folder, or id on the hub of the data set that splits are parts of."
    )
    configuration: str | None = Field(None, description="Name of a hub data set's configuration.")
    revision: str | None = Field(None, description="Commit, branch or tag of a hub data set.")
    train: PathText | None = Field(
        None, description="Training samples: a file, or with `source` the name of its split."
    )
    search: PathText | None = Field(None, description="Samples that trials are scored on; as for `train`.")
    confirm: PathText | None = Field(
        None, description="Samples for a final check, which the search never sees; as for `train`."
    )
    divide: DivideConfig = Field(
        DivideConfig(), description="Shares of splits that name the same file or the same split of `source`."
    )
    format: Format = Field("auto", description="How a row is written; auto: by its columns.")
    columns: dict[str, str | Annotated[tuple[str, ...], BeforeValidator(tuple)]] = Field(
        {}, description="A format's field -> the column or columns that hold it."
    )
    only: dict[str, OneOrMore] = Field(
        {}, description="Column -> the value, or the values, of which a row must have one to be taken."
    )
    prompt: str | None = Field(None, description="Text of the user's turn, with columns as {question}.")
    answer: Literal["text", "letter"] | None = Field(
        None, description="How the answer to a choice is written; null: as its letter."
    )
    images: PathText | None = Field(
        None, description="Folder that image paths are relative to; null: the file's."
    )
    metric: Annotated[MetricConfig, BeforeValidator(_metric)] = Field(
        MetricConfig(), description="How an answer is scored; its name, or a mapping with options."
    )
    decoding: DecodingConfig = DecodingConfig()
    limit: Count | None = Field(None, description="Samples per split; null takes all.")

    @model_validator(mode="after")
    def _consistent(self) -> TaskConfig:
        # What a card adds is not known yet.
        if self.lm_eval is not None:
            for key, field in type(self).model_fields.items():
                if key not in _BESIDE_LM_EVAL and getattr(self, key) != field.default:
                    raise ValueError(f"{key}: means nothing beside lm_eval, whose task says it")
            return self
        if self.card is not None:
            return self
        if self.source is None:
            for key in ("configuration", "revision"):
                if getattr(self, key) is not None:
                    raise ValueError(f"{key}: only a data set under `source` has one")
        origins = self.origins
        for split, origin in origins.items():
            if list(origins.values()).count(origin) > 1 and not self.divide.shares[split]:
                raise ValueError(f"divide.{split}: a share of 0 leaves the split nothing of {origin.source}")
        return self

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits that it names; whether lm-eval's task has one shows when it is opened."""
        if self.lm_eval is None:
            return tuple(self.origins)
        return LM_EVAL_SPLITS if self.lm_eval.confirm else LM_EVAL_SPLITS[:-1]

    @property
    def origins(self) -> dict[Split, Origin]:
        """Where each split's rows lie; a source of which no split is named is divided between all three."""
        named = {"train": self.train, "search": self.search, "confirm": self.confirm}
        given = {split: named[split] for split in SPLITS if named[split] is not None}
        if self.source is None:
            return {split: Origin(source=str(path)) for split, path in given.items()}
        parts = given or {split: None for split in SPLITS if self.divide.shares[split] > 0}
        return {
            split: Origin(
                source=self.source, split=part, configuration=self.configuration, revision=self.revision
            )
            for split, part in parts.items()
        }

    def spec(self, name: str) -> TaskSpec:
        """Return the definition as plain values, for a task of this name."""
        return TaskSpec(
            name=name,
            origins=self.origins,
            shares=self.divide.shares,
            division_seed=self.divide.seed,
            format=self.format,
            columns={
                field: (columns,) if isinstance(columns, str) else columns
                for field, columns in self.columns.items()
            },
            only=self.only,
            prompt=self.prompt,
            answer=self.answer,
            images=self.images,
            metric=self.metric.spec,
            decoding=self.decoding.spec,
            limit=self.limit,
            needs=self.about.needs if self.about else None,
        )


class DataConfig(Section):
    """How all tasks' data are treated."""

    tasks: PathText | None = Field(
        None, description="Folder of task definitions, one YAML file each, named by its task."
    )
    mirror: PathText | None = Field(
        None, description="Folder of copies of hub data sets, `<owner>/<name>/`, looked into first."
    )
    on_bad_sample: Literal["error", "skip"] = Field(
        "error", description="Whether a sample that can't be used stops the study or is left out."
    )
    max_bad_share: Annotated[Number, Field(ge=0, le=1)] = Field(
        0.05, description="Share of a split that may be left out as bad; above it the study is refused."
    )
    on_leak: Literal["error", "drop"] = Field(
        "error",
        description="Whether a training sample that is also a scored one stops the study or is left out.",
    )
    allow_outside: bool = Field(
        False, description="Whether images that data files name may lie outside of the folder of images."
    )
    cache_gib: Positive = Field(
        20.0, description="Size in GiB up to which a split's encoded samples are kept on storage."
    )
