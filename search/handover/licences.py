"""The licence of a base model, as its own card states it."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from search.settings.safe_yaml import YamlError, read_yaml
from trainables.model import model_source

CARD = "README.md"
_SECONDS = 5


def licence_of(path: str) -> str | None:
    """Return the licence that the card of a model names, or None where there is no card or no licence.

    Args:
        path: Hub id, folder or embedded name.
    """
    card = _card(model_source(path))
    if card is None:
        return None
    head = card.read_text(encoding="utf-8", errors="replace").split("---", 2)
    if len(head) < 3 or head[0].strip():
        return None
    try:
        content = read_yaml(head[1])
    except YamlError:
        return None
    licence = content.get("license") if isinstance(content, dict) else None
    return licence if isinstance(licence, str) else None


def _card(source: str) -> Path | None:
    if Path(source).is_dir():
        card = Path(source) / CARD
        return card if card.is_file() else None
    try:
        return Path(hf_hub_download(source, CARD, etag_timeout=_SECONDS))
    except (HfHubHTTPError, LocalEntryNotFoundError, HFValidationError, OSError):
        return None
