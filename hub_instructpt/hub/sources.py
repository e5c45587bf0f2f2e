"""What the Hub says of a dataset that is about to be read: its commit, its licence, its languages.

Keeps true: what is unknown stays unknown. Does not know rows.
"""

from __future__ import annotations

from typing import Any

from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

from hub_instructpt.errors import InputError
from hub_instructpt.hub.failures import new_api, told
from hub_instructpt.runs.manifest import SourceFacts


def source_facts(repo_id: str, config_name: str | None, split: str, revision: str | None = None) -> SourceFacts:
    """What the Hub knows of a dataset: the commit that is read from now on, its licence and its languages.

    Raises:
        InputError: there is no such dataset or revision, or no right to see it.
    """
    try:
        info = new_api().dataset_info(repo_id, revision=revision)
    except RevisionNotFoundError:
        raise InputError(f"The dataset {repo_id} has no revision {revision!r}.") from None
    except (RepositoryNotFoundError, HFValidationError):
        raise InputError(
            f"There is no dataset {repo_id} on the Hub, or it is private, and no local file of that name.",
            advice="Check the name; a private dataset needs `hf auth login` or HF_TOKEN.",
        ) from None
    except Exception as error:
        raise told(error, f"read {repo_id}") from None
    card: Any = info.card_data or {}
    return SourceFacts(
        kind="hub",
        name=repo_id,
        config_name=config_name,
        split=split,
        revision=info.sha,
        license=_strings(card.get("license")),
        language=_strings(card.get("language")),
    )


def _strings(value: Any) -> list[str] | None:
    if isinstance(value, str):
        return [value]
    return [item for item in value if isinstance(item, str)] or None if isinstance(value, list) else None
