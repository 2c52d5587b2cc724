"""Reading a study file: every wrong input is one line that names the key, the rule and the nearest name."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.settings.study_file import InputError, dump_study, load_study

STUDY = """
name: lesson
model: {path: tiny-llava}
tasks:
  birds: {train: train.jsonl, search: search.jsonl}
  bees: {search: search.jsonl}
targets: [birds]
held_out: [bees]
space: {subsets: [gate_up, full], learning_rate: [1e-5, 1e-2]}
training: {steps: 40, batch_size: 8}
search: {trials: 4}
finalists: null
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    return path


def refused(path: Path, *overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        load_study(path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


class TestNumbers:
    def test_yaml_reads_1e_minus_5_as_text_and_the_study_as_a_number(self, file: Path) -> None:
        assert load_study(file).space.learning_rate == (1e-5, 1e-2)

    def test_a_whole_number_is_a_number(self, file: Path) -> None:
        assert load_study(file, ["objective.forgetting_weight=2"]).objective.forgetting_weight == 2.0

    def test_in_an_override(self, file: Path) -> None:
        study = load_study(file, ["space.learning_rate=[1e-4, 1]", "search.preset_learning_rate=3e-4"])
        assert study.space.learning_rate == (1e-4, 1.0)
        assert study.search.preset_learning_rate == 3e-4


def test_data_files_are_looked_for_beside_the_study_file(file: Path) -> None:
    birds = load_study(file).tasks["birds"]
    assert (birds.train, birds.search) == (
        str(file.parent / "train.jsonl"),
        str(file.parent / "search.jsonl"),
    )


class TestWhatIsBlamed:
    def test_the_override_that_is_wrong_and_not_the_file(self, file: Path) -> None:
        said = refused(file, "search.seed=3", "training.steps=four")
        assert said == (
            "override 'training.steps=four': training.steps: input should be a valid integer, got 'four'"
        )
        assert refused(file, "search={trials: no}").startswith(
            "override 'search={trials: no}': search.trials"
        )

    def test_the_file_where_the_override_is_right(self, file: Path) -> None:
        file.write_text(STUDY.replace("steps: 40", "steps: four"))
        assert refused(file, "search.seed=3").startswith(f"{file}: training.steps: ")


class TestPoints:
    def test_null_switches_them_off(self, file: Path) -> None:
        assert load_study(file, ["points=null"]).points is None

    def test_a_list_may_be_empty(self, file: Path) -> None:
        points = load_study(file, ["points={alpha: [], keep: [1], soup: null}"]).points
        assert points is not None
        assert (points.alpha, points.keep, points.soup) == ((), (1.0,), None)


class TestOverrides:
    def test_change_add_and_make_sections(self, file: Path) -> None:
        study = load_study(
            file, ["training.steps=80", "search.seed=3", "search.pruning.first_rung=20", "name=b"]
        )
        assert (study.training.steps, study.search.seed, study.name) == (80, 3, "b")
        assert study.rungs == (20, 40, 80)

    def test_the_last_one_wins(self, file: Path) -> None:
        assert load_study(file, ["training.steps=80", "training.steps=60"]).training.steps == 60

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ("search", "override 'search': expected key=value, such as search.trials=8"),
            ("=3", "override '=3': expected key=value, such as search.trials=8"),
            ("search.trials=[1", "override 'search.trials=[1': the value is not valid YAML"),
            ("name.x=3", "override 'name.x=3': 'name' is a value, not a section"),
            ("search.trials.x=3", "override 'search.trials.x=3': 'search.trials' is a value, not a section"),
        ],
    )
    def test_wrong(self, file: Path, override: str, message: str) -> None:
        assert refused(file, override) == message


class TestWrongValues:
    @pytest.mark.parametrize(
        ("override", "message"),
        [
            # Unknown keys: at the top, nested, in a task, in an optional section, and one like no other.
            ("targts=[birds]", "unknown key 'targts': did you mean 'targets'?"),
            ("training.step=4", "unknown key 'training.step': did you mean 'steps'?"),
            ("tasks.bees.serach=x", "unknown key 'tasks.bees.serach': did you mean 'search'?"),
            (
                "search.pruning={first_rungs: 10}",
                "unknown key 'search.pruning.first_rungs': did you mean 'first_rung'?",
            ),
            (
                "model.zzz=1",
                "unknown key 'model.zzz': expected one of: dtype, path, roles, trust_remote_code",
            ),
            # Wrong types.
            ("training.steps=abc", "training.steps: input should be a valid integer, got 'abc'"),
            ("training.steps=1.5", "training.steps: input should be a valid integer, got 1.5"),
            ("training.steps=true", "training.steps: input should be a valid integer, got true"),
            ("training.steps=", "training.steps: input should be a valid integer, got null"),
            ("name=123", "name: input should be a valid string, got 123"),
            ("targets=birds", "targets: must be a list, got 'birds'"),
            ("space=3", "space: must be a section, got 3"),
            ("tasks.bees=", "tasks.bees: must be a section, got null"),
            ("tasks=[bees]", "tasks: must be a section, got ['bees']"),
            (
                "objective.max_forgetting=x",
                "objective.max_forgetting: input should be a valid number, got 'x'",
            ),
            # Out of range.
            ("training.steps=0", "training.steps: input should be greater than or equal to 1, got 0"),
            ("search.seed=-1", "search.seed: input should be greater than or equal to 0, got -1"),
            (
                "objective.max_forgetting=.nan",
                "objective.max_forgetting: input should be a finite number, got nan",
            ),
            ("space.warmup_ratio=[1]", "space.warmup_ratio.0: input should be less than 1, got 1"),
            # Unknown names.
            (
                "space.subsets=[gate_upp]",
                "space.subsets.0: unknown subset 'gate_upp': did you mean 'gate_up'?",
            ),
            (
                "space.learning_rate_of={ful: [1e-5, 1e-4]}",
                "space.learning_rate_of.ful: unknown subset 'ful': did you mean 'full'?",
            ),
            (
                "space.learning_rate_of={down: [1e-5, 1e-4]}",
                "space.learning_rate_of: 'down' is not among space.subsets",
            ),
            (
                "training.schedule=cosin",
                "training.schedule: input should be 'cosine', 'linear' or 'constant', got 'cosin'",
            ),
            # Lists: empty, twice the same, in two roles.
            ("targets=[]", "targets: must not be empty, got []"),
            ("held_out=[]", "held_out: must not be empty, got []"),
            ("space.subsets=[]", "space.subsets: must not be empty, got []"),
            ("space.subsets=[full, full]", "space.subsets: 'full' is listed twice"),
            ("held_out=[bees, birds]", "held_out: task 'birds' is also listed as a target"),
            # Bounds: reversed, none, one, three, zero.
            (
                "space.learning_rate=[1e-2, 1e-5]",
                "space.learning_rate: the lower bound 0.01 is above the upper bound 1e-05",
            ),
            (
                "space.learning_rate_of={full: [1e-3, 1e-4]}",
                "space.learning_rate_of.full: the lower bound 0.001 is above the upper bound 0.0001",
            ),
            ("space.learning_rate=[1.0]", "space.learning_rate: must be a pair [low, high], got [1.0]"),
            (
                "space.learning_rate=[1, 2, 3]",
                "space.learning_rate: must be a pair [low, high], got [1, 2, 3]",
            ),
            ("space.learning_rate=[0, 1]", "space.learning_rate.0: input should be greater than 0, got 0"),
            # Points without retraining.
            ("points.alpha=[0.5, 1.5]", "points.alpha.1: input should be less than or equal to 1, got 1.5"),
            ("points.alpha=[-1]", "points.alpha.0: input should be greater than or equal to 0, got -1"),
            ("points.alpha=0.5", "points.alpha: must be a list, got 0.5"),
            ("points.alpha=[0.5, 0.5]", "points.alpha: 0.5 is listed twice"),
            ("points.keep=[0]", "points.keep.0: input should be greater than 0, got 0"),
            ("points.soup=1", "points.soup: input should be greater than or equal to 2, got 1"),
            ("points.top=0", "points.top: input should be greater than or equal to 1, got 0"),
            ("points.alhpa=[0.5]", "unknown key 'points.alhpa': did you mean 'alpha'?"),
            ("points=[0.5]", "points: must be a section, got [0.5]"),
            (
                "points.earlier_rungs=true",
                "points.earlier_rungs: without search.pruning a trial has one rung alone",
            ),
            # What does not go together.
            (
                "search.objectives=[target_gain, forgetting]",
                "search.objectives.1: input should be 'score', 'target_gain', 'held_out_forgetting' or "
                "'cost', got 'forgetting'",
            ),
            ("search.objectives=[cost, cost]", "search.objectives: 'cost' is listed twice"),
            (
                "search.objectives=[held_out_forgetting, cost]",
                "search.objectives: held_out_forgetting and cost alone: training nothing is best; "
                "add 'target_gain' or 'score'",
            ),
            (
                "search.objectives=[held_out_forgetting, score, target_gain]",
                "search.objectives: 'score' is made of target_gain and held_out_forgetting, "
                "and adds nothing to both: leave it out",
            ),
            (
                "search.sampler=nsga",
                "search.sampler: input should be 'tpe', 'nsga2', 'nsga3' or 'random', got 'nsga'",
            ),
            (
                "search.population=8",
                "search.population: the sampler 'tpe' has none; nsga2 and nsga3 do",
            ),
            (
                "search.pruning={first_rung: 41}",
                "search.pruning.first_rung: 41 is beyond training.steps 40",
            ),
            (
                "evaluation.rung_samples=0",
                "evaluation.rung_samples: input should be greater than or equal to 1, got 0",
            ),
            (
                "evaluation={samples: 20, rung_samples: 21}",
                "evaluation.rung_samples: 21 is above evaluation.samples 20",
            ),
            (
                "resources.workers_per_trial=9",
                "resources.workers_per_trial: 9 workers can't share training.batch_size 8 samples",
            ),
            (
                "resources={sharding: fsdp, workers_per_trial: 1}",
                "resources.sharding: fsdp spreads the model over several workers, not 1",
            ),
            (
                "resources.gpus_per_worker=1.5",
                "resources.gpus_per_worker: must be at most 1 or a whole number, got 1.5",
            ),
            ("targets=[bees]", "held_out: task 'bees' is also listed as a target"),
            ("tasks.birds.train=", "tasks.birds.train: a target needs training samples"),
            (
                "space.subsets=[sa_proj-down]",
                "space.subsets.0: subset 'sa_proj-down': 'down' takes nothing away from attn.q, attn.k, "
                "attn.v, attn.o",
            ),
            (
                "space.subsets=[mlp+attn.w]",
                "space.subsets.0: unknown subset 'attn.w' in 'mlp+attn.w': did you mean 'attn.v'?",
            ),
            (
                "space.subsets=[random(vo,1)]",
                "space.subsets.0: subset 'random(vo': a random control stands alone, as random(sa_proj) or "
                "random(sa_proj,1); a list in a YAML file needs quotes around one with a comma",
            ),
            ("space.subsets=[vo + down, vo+down]", "space.subsets: 'vo+down' is listed twice"),
            (
                "space.layers=[lats:2]",
                "space.layers.0: layer range 'lats:2': unknown place 'lats': did you mean 'last'?",
            ),
            (
                "space.layers=[last:3/2]",
                "space.layers.0: layer range 'last:3/2': last must take a fraction above 0 and up to 1",
            ),
            (
                "space={subsets: [projector], learning_rate: [1, 2], layers: [all, last:1]}",
                "space.layers: none of space.subsets has layers",
            ),
            ("space.methods=[laura]", "space.methods.0: input should be 'selective' or 'lora', got 'laura'"),
            ("space.lora={rank: [8]}", "space.lora: needs 'lora' among space.methods"),
            ("space.lora.rnak=[8]", "unknown key 'space.lora.rnak': did you mean 'rank'?"),
            (
                "space.lora.rank=[0]",
                "space.lora.rank.0: input should be greater than or equal to 1, got 0",
            ),
            ("space.lora.alpha=[0]", "space.lora.alpha.0: input should be greater than 0, got 0"),
            ("space.lora.alpha=[null, null]", "space.lora.alpha: null is listed twice"),
            ("space.lora.dropout=[1]", "space.lora.dropout.0: input should be less than 1, got 1"),
            (
                "space.lora.variant=[qlora]",
                "space.lora.variant.0: input should be 'lora', 'rslora' or 'dora', got 'qlora'",
            ),
            (
                "space.lwf.weight=[-1]",
                "space.lwf.weight.0: input should be greater than or equal to 0, got -1",
            ),
            ("space.lwf.temperature=[0]", "space.lwf.temperature.0: input should be greater than 0, got 0"),
            (
                "space.lwf.temperature=[1, 2]",
                "space.lwf.temperature: without a space.lwf.weight above 0 it means nothing",
            ),
            (
                "space={subsets: [vo], learning_rate: [1, 2], methods: [lora], l2sp_weight: [0.1]}",
                "space.l2sp_weight: adapters start from nothing; it needs the method 'selective'",
            ),
            ("space.replay_ratio=[1]", "space.replay_ratio.0: input should be less than 1, got 1"),
            (
                "space.replay_ratio=[0, 0.5]",
                "space.replay_ratio: it draws from the tasks of training.replay, and there is none",
            ),
            (
                "training.replay=[bees]",
                "training.replay: without a space.replay_ratio above 0 nothing is drawn from it",
            ),
            ("space.batch_size=[]", "space.batch_size: must not be empty, got []"),
            ("space.batch_size=8", "space.batch_size: must be a list, got 8"),
            ("space.schedule=[cosine, cosine]", "space.schedule: 'cosine' is listed twice"),
            (
                "space.learning_rate_of={lora: [1e-5, 1e-4]}",
                "space.learning_rate_of: 'lora' needs 'lora' among space.methods",
            ),
            (
                "space.learning_rate_of={full/lora: [1e-5, 1e-4]}",
                "space.learning_rate_of: 'full/lora' needs 'lora' among space.methods",
            ),
            (
                "space.learning_rate_of={full/lroa: [1e-5, 1e-4]}",
                "space.learning_rate_of.full/lroa: unknown method 'lroa': did you mean 'lora'?",
            ),
            (
                "space.learning_rate_of={ful/lora: [1e-5, 1e-4]}",
                "space.learning_rate_of.ful/lora: unknown subset 'ful': did you mean 'full'?",
            ),
            (
                "tasks.birds.search=",
                "tasks.birds.search: a target or held-out task needs samples to score",
            ),
            # Names that would not do as a folder or a metric.
            ("name=../x", "name: must be letters, digits, '.', '_' and '-', got '../x'"),
            (
                "tasks={a+b: {search: x}}",
                "tasks.a+b: must be letters, digits, '.', '_' and '-', got 'a+b'",
            ),
        ],
    )
    def test_message(self, file: Path, override: str, message: str) -> None:
        said = refused(file, override)
        assert said.endswith(f": {message}")
        assert said.removesuffix(f": {message}") in (str(file), f"override {override!r}")

    @pytest.mark.parametrize(
        ("overrides", "message"),
        [
            (
                ("training.replay=[birds]",),
                "training.replay: task 'birds' is a target, whose samples are drawn anyway",
            ),
            (
                ("training.replay=[bees]",),
                "tasks.bees.train: a task of training.replay needs training samples",
            ),
            (
                ("resources.workers_per_trial=3", "space.batch_size=[2, 8]", "space.replay_ratio=[0]"),
                "resources.workers_per_trial: 3 workers can't share space.batch_size 2 samples",
            ),
            (
                (
                    "evaluation.rung_samples=5",
                    "search.pruning={first_rung: 8}",
                    "points.earlier_rungs=true",
                    "space.replay_ratio=[0]",
                ),
                "points.earlier_rungs: with evaluation.rung_samples 5 earlier rungs are not evaluated on all "
                "samples, which what may be selected must be",
            ),
            (
                (
                    "space.methods=[lora]",
                    "space.learning_rate_of={down/lora: [1, 2]}",
                    "space.replay_ratio=[0]",
                ),
                "space.learning_rate_of: 'down' is not among space.subsets",
            ),
        ],
    )
    def test_message_about_several_keys(self, file: Path, overrides: tuple[str, ...], message: str) -> None:
        said = refused(file, "space.replay_ratio=[0.5]", *overrides)
        assert said.endswith(f": {message}")
        key = message.partition(": ")[0]
        wrong = [each for each in overrides if each.startswith(key)]
        assert said.removesuffix(f": {message}") == (f"override {wrong[-1]!r}" if wrong else str(file))

    def test_missing_key(self, file: Path) -> None:
        file.write_text(STUDY.replace("search: {trials: 4}", ""))
        assert refused(file) == f"{file}: missing key 'search'"

    def test_a_misspelt_key_is_told_before_the_missing_one(self, file: Path) -> None:
        file.write_text(STUDY.replace("held_out:", "heldout:"))
        assert refused(file) == f"{file}: unknown key 'heldout': did you mean 'held_out'?"


class TestWrongFiles:
    def test_missing(self, file: Path) -> None:
        wrong = file.with_name("stduy.yaml")
        assert refused(wrong) == f"{wrong}: no such study file; did you mean 'study.yaml'?"

    def test_missing_folder(self, tmp_path: Path) -> None:
        wrong = tmp_path / "nowhere" / "study.yaml"
        assert refused(wrong) == f"{wrong}: no such study file"

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "a study file is a mapping of keys, got NoneType"),
            (b"- 1", "a study file is a mapping of keys, got list"),
            (b"{", "not valid YAML: while parsing"),
            (b"name: \xff", "not valid YAML: not UTF-8 text: 'utf-8' codec can't decode byte 0xff"),
            (b'tasks: {a: {prompt: "is it \\ud800?"}}', r"not UTF-8 text: '\ud800' in 'is it \ud800?'"),
            (b"a: " + b"[" * 5000, "nested too deeply: more than 100 lists and objects within one another"),
        ],
    )
    def test_content(self, file: Path, content: bytes, message: str) -> None:
        file.write_bytes(content)
        assert refused(file).startswith(f"{file}: {message}")


class TestDump:
    def test_passwords_are_left_out(self, file: Path) -> None:
        overrides = [
            "tracking.uri=http://me:secret@host",
            "search.storage=postgresql://me:secret@host/optuna",
        ]
        text = dump_study(load_study(file, overrides))
        assert "secret" not in text
        assert "uri: http://me@host\n" in text
        assert "storage: postgresql://me@host/optuna\n" in text

    def test_one_database_for_both(self, file: Path) -> None:
        address = "postgresql://me@host/both"
        with pytest.raises(
            InputError, match=r"search\.storage: must be another database than tracking\.uri's"
        ):
            load_study(file, [f"tracking.uri={address}", f"search.storage={address}"])
