"""`recipe-search export`: what it writes, and what it says of a wrong input."""

from __future__ import annotations

from pathlib import Path

import pytest
from handed_over import trained_study, write_recipe
from tiny_models import recipe, save_llama, save_llava

from search.cli import main


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llava(tmp_path_factory.mktemp("base") / "llava")


def test_writes_into_the_study_and_tells_what_is_missing(
    tmp_path: Path, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_recipe(tmp_path, recipe("mlp", lwf_weight=1.0), base)
    assert main(["export", str(tmp_path), "--to", "ms-swift"]) == 0
    file = tmp_path / "exports" / "ms_swift" / "ms_swift.yaml"
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(file)
    assert file.is_file()
    assert lines[1].startswith("not expressed: distillation from the base (LwF, weight 1")
    assert lines[2] == f"use: swift sft {file}"


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["export", *arguments]) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert captured.out == ""
    return line.removeprefix("error: ")


def test_a_wrong_input_is_one_line(tmp_path: Path, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, text = write_recipe(tmp_path, recipe("projector"), base), save_llama(tmp_path / "text")
    capsys.readouterr()
    assert error_of(capsys, str(file), "--to", "axolotol") == (
        "--to: unknown tool 'axolotol': did you mean 'axolotl'?"
    )
    nowhere = str(tmp_path / "nowhere.yaml")
    assert error_of(capsys, nowhere, "--to", "trl").startswith(f"{nowhere}: no such recipe")
    assert str(tmp_path) in error_of(capsys, str(file), "--to", "trl", "--output", str(tmp_path))

    found = error_of(capsys, str(file), "--to", "trl", "--model", str(text))
    assert f"the recipe does not fit model {str(text)!r}: " in found
    assert "projector" in found
    gone = str(tmp_path / "gone")
    assert f"model {gone!r} can't be loaded" in error_of(capsys, str(file), "--to", "trl", "--model", gone)

    write_recipe(tmp_path / "kept", None, base)
    assert error_of(capsys, str(tmp_path / "kept"), "--to", "peft").endswith(
        "the verdict is to keep the base, so there is no recipe to export"
    )
    odd = write_recipe(tmp_path / "odd", recipe("mlp"), base)
    odd.write_text(odd.read_text("utf-8").replace("subset:", "subsett:"), encoding="utf-8")
    assert error_of(capsys, str(odd), "--to", "peft") == (
        f"{odd}: unknown recipe field 'subsett': did you mean 'subset'?"
    )


def test_where_nothing_can_be_written_is_one_line(
    tmp_path: Path, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_recipe(tmp_path, recipe("mlp"), base)
    capsys.readouterr()
    for place in (file / "below", Path("/proc/none/below")):
        found = error_of(capsys, str(file), "--to", "trl", "--output", str(place))
        assert found.startswith(f"{place} can't be written: ")


def test_what_fails_leaves_nothing(
    tmp_path: Path, base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study, _ = trained_study(tmp_path, base, "mlp")
    capsys.readouterr()

    def fails(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    # The weights are written before the tokenizer's files.
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with monkeypatch.context() as patched:
        patched.setattr("search.exports.to_transformers.shutil.copytree", fails)
        for place in ("new", "empty"):
            arguments = ["export", str(study), "--to", "transformers", "--output", str(tmp_path / place)]
            assert main(arguments) == 2
            error = capsys.readouterr().err.splitlines()[-1]
            assert error == f"error: {tmp_path / place} can't be written: No space left on device"
    assert sorted(tmp_path.rglob("*")) == before
    for place in ("new", "empty"):
        folder = tmp_path / place
        assert main(["export", str(study), "--to", "transformers", "--output", str(folder)]) == 0
        *files, use = capsys.readouterr().out.splitlines()
        assert str(folder / "model.safetensors") in files
        assert all(Path(each).is_file() for each in files)
        assert use.endswith(f"from_pretrained({str(folder)!r})")
        assert not [each for each in folder.iterdir() if each.is_dir()]
