"""Data sets of Hugging Face: which files a split's rows lie in, without converting or copying them.

The `datasets` library tells a data set's configurations, splits, files and class labels, from its card or
from the names of its files. The rows are then read from the files themselves: nothing is unpickled, and no
code of a data set is run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from spaces.nearest import did_you_mean
from trainables.data.task_spec import Origin
from trainables.files import near_path
from trainables.sources.image_paths import extent

if TYPE_CHECKING:
    from datasets import DatasetBuilder

FILE_TYPES: Final[Mapping[str, str]] = {
    ".jsonl": "json",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
"""End of a file's name -> its kind."""

KINDS: Final = ("parquet", "arrow", "json", "csv", "imagefolder")
_PART: Final = re.compile(r"(.*-)\d{5}-of-(\d{5})\b.*")
_PACKED: Final = (".gz", ".bz2", ".xz", ".zst", ".lz4")
_HUB_SECONDS: Final = 10.0  # for the hub to answer
_SAVED: Final = ("dataset_dict.json", "state.json")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataFile:
    """A file of a data set.

    Attributes:
        path: Where it lies on this machine.
        label: What messages call it.
        kind: One of `KINDS`.
        suffix: The end of its name, without that of its compression.
        classes: Column of class labels -> their names.
    """

    path: Path
    label: str
    kind: str
    suffix: str
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)


def is_hub_id(source: str) -> bool:
    """Tell whether a text could be a data set's id on the hub."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", source) is not None


def data_files(origin: Origin, mirror: Path | None) -> Iterator[DataFile]:
    """Return the files of an origin, in their order; those of the hub are fetched when they are due.

    Args:
        origin: A folder, or a data set's id on the hub.
        mirror: Folder of copies of hub data sets, `<owner>/<name>/`.

    Raises:
        ValueError: There is no such data set, configuration, revision or split, or its files are of no known
            kind.
    """
    folder = _folder(origin.source, origin.revision, mirror)
    if folder is not None and any((folder / name).is_file() for name in _SAVED):
        return _saved_files(folder, origin)
    if folder is None and (folder := _cached_copy(origin.source, origin.revision)) is not None:
        try:
            return _listed_files(folder, str(folder), origin.configuration, None, origin.split)
        except ValueError as error:
            raise ValueError(f"{error}; the hub can't be reached, and this is its cache's copy") from None
    name = origin.source if folder is None else str(folder)
    revision = origin.revision if folder is None else None
    return _listed_files(folder, name, origin.configuration, revision, origin.split)


def _folder(source: str, revision: str | None, mirror: Path | None) -> Path | None:
    """Return the folder of a data set that lies here; None where it is the hub's."""
    folder = Path(source)
    if folder.is_dir():
        if revision is not None:
            raise ValueError(f"{folder}: a folder on this machine has no revision {revision!r}")
        return folder
    if not is_hub_id(source):
        hint = "; * and ? are no patterns: name a folder" if re.search(r"[*?]", source) else near_path(folder)
        raise ValueError(f"no such file or folder: {source}{hint}")
    copy = None if mirror is None else mirror / source
    return copy if copy is not None and copy.is_dir() else None


@lru_cache(maxsize=64)
def _cached_copy(source: str, revision: str | None) -> Path | None:
    """Return the hub cache's copy of a data set where the hub can't be reached, and None where it can.

    The hub is asked once, without the many attempts of the libraries that fetch from it.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, LocalEntryNotFoundError

    try:
        HfApi().dataset_info(source, revision=revision, timeout=_HUB_SECONDS)
        return None
    except HfHubHTTPError as error:
        raise ValueError(
            f"{source}: no file or folder here, and the hub refuses it: {_short(error)}"
        ) from None
    except (OSError, HTTPError) as error:
        try:
            copy = snapshot_download(source, repo_type="dataset", revision=revision, local_files_only=True)
            return Path(copy)
        except LocalEntryNotFoundError:
            raise ValueError(
                f"{source}: no file or folder here, and the hub can't be reached: {_short(error)}; "
                f"a copy of the data set can lie at <data.mirror>/{source}"
            ) from None


def _builder(name: str, configuration: str | None, revision: str | None) -> DatasetBuilder:
    import yaml
    from datasets import get_dataset_config_names, get_dataset_default_config_name, load_dataset_builder
    from datasets.exceptions import DatasetsError

    try:
        known = get_dataset_config_names(name, revision=revision)
        if configuration is None and get_dataset_default_config_name(name, revision=revision) is None:
            raise ValueError(f"it has several configurations, name one of them: {', '.join(known)}")
        if configuration is not None and configuration not in known:
            raise ValueError(f"no configuration {configuration!r}: {did_you_mean(configuration, known)}")
        return load_dataset_builder(name, name=configuration, revision=revision)
    except (ValueError, RuntimeError, OSError, DatasetsError, yaml.YAMLError) as error:
        raise ValueError(f"{name}: {_short(error)}") from None


def _listed_files(
    folder: Path | None, name: str, configuration: str | None, revision: str | None, split: str | None
) -> Iterator[DataFile]:
    """Return the files that a card, or the names of the files, tell to be a split's."""
    builder = _builder(name, configuration, revision)
    kind = type(builder).__module__.rpartition(".")[2]
    if kind not in KINDS:
        raise ValueError(f"{name}: its files are read as {kind!r}, expected one of: {', '.join(KINDS)}")
    files = {str(key): list(map(str, paths)) for key, paths in (builder.config.data_files or {}).items()}
    chosen = files[_one_split(files, split, name)]
    _check_places(chosen, folder, name)
    if folder is not None:
        _check_types(folder)
    _check_parts(chosen)
    return _fetched(chosen, kind, _classes(builder.info.features))


def _fetched(files: list[str], kind: str, classes: Mapping[str, Sequence[str]]) -> Iterator[DataFile]:
    from datasets import DownloadManager

    downloads = DownloadManager()
    for file in files:
        label = re.sub(r"^hf://datasets/([^@]*)@[^/]*", r"\1", file)
        try:
            path = Path(downloads.download_and_extract(file))
        except (OSError, ValueError) as error:
            raise ValueError(f"{label}: {_short(error)}") from None
        name = Path(file)
        suffix = Path(name.stem).suffix if name.suffix in _PACKED else name.suffix
        if not path.is_file():
            raise ValueError(f"{label}: archives are not read; unpack it")
        # Configurations of one set may be of several types, and the library tells the type of one.
        own = kind if kind == "imagefolder" else FILE_TYPES.get(suffix, kind)
        yield DataFile(path=path, label=label, kind=own, suffix=suffix, classes=classes)


def _saved_files(folder: Path, origin: Origin) -> Iterator[DataFile]:
    """Return the files of what `save_to_disk` has written."""
    from datasets import DatasetDict, load_from_disk

    if (value := origin.configuration) is not None:
        raise ValueError(
            f"{folder}: a saved data set has no configuration {value!r}; null takes away a card's"
        )
    try:
        saved = load_from_disk(str(folder))
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder}: not a saved data set that can be read: {_short(error)}") from None
    if isinstance(saved, DatasetDict):
        saved = saved[_one_split(saved, origin.split, str(folder))]
    elif origin.split is not None:
        raise ValueError(f"{folder}: it has no splits, and so none named {origin.split!r}")
    paths = [file["filename"] for file in saved.cache_files]
    _check_places(paths, folder, str(folder))
    for path in map(Path, paths):
        yield DataFile(path=path, label=str(path), kind="arrow", suffix=path.suffix)


def _one_split(known: Mapping[str, Any], split: str | None, name: str) -> str:
    if split is None and len(known) > 1:
        raise ValueError(
            f"{name}: it has the splits {', '.join(known)}; name those that are meant under train, search "
            "and confirm"
        )
    if split is not None and split not in known:
        raise ValueError(f"{name}: no split {split!r}: {did_you_mean(split, known)}")
    return next(iter(known)) if split is None else split


def _check_places(files: Sequence[str], folder: Path | None, name: str) -> None:
    """Refuse files that a card names outside of its data set: cards come from anywhere.

    Raises:
        ValueError: One lies outside.
    """
    for file in files:
        if folder is None:
            inside = file.startswith(f"hf://datasets/{name}@") and ".." not in file.split("/")
        else:
            inside = "://" not in file and Path(os.path.realpath(file)).is_relative_to(
                extent(folder.resolve())
            )
        if not inside:
            raise ValueError(f"{name}: its card names {file}, which lies outside of the data set")


def _check_types(folder: Path) -> None:
    """Refuse a folder of which some files would be passed over, where no card says which are meant."""
    from huggingface_hub import metadata_load

    readme = folder / "README.md"
    if readme.is_file() and "configs" in (metadata_load(readme) or {}):
        return
    types: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        hidden = any(part.startswith((".", "_")) for part in place.parts)
        if (
            path.suffix in FILE_TYPES
            and not hidden
            and not path.name.startswith(("dataset_info", "metadata."))
        ):
            types.setdefault({".json": ".jsonl"}.get(path.suffix, path.suffix), place)
    if len(types) > 1:
        names = " and ".join(map(str, types.values()))
        raise ValueError(f"{folder}: files of several types, such as {names}; name one, or keep them apart")


def _check_parts(files: Sequence[str]) -> None:
    """Refuse a data set of which parts are missing, as their names tell."""
    found: dict[tuple[str, str], int] = {}
    for file in files:
        if match := _PART.fullmatch(file):
            found[match[1], match[2]] = found.get((match[1], match[2]), 0) + 1
    for (start, total), count in found.items():
        if count < int(total):
            raise ValueError(f"{start}*-of-{total}: {count} of {int(total)} files are there")


def _classes(features: Mapping[str, Any] | None) -> dict[str, list[str]]:
    from datasets import ClassLabel

    return {
        name: list(feature.names)
        for name, feature in (features or {}).items()
        if isinstance(feature, ClassLabel) and feature.names
    }


def _short(error: Exception) -> str:
    """Return an error's first sentence, on one line."""
    return " ".join(str(error).split()).partition(". ")[0]
