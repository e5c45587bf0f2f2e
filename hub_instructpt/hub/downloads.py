"""A fine-tuning collection on the Hub, as a folder on this machine.

Keeps true: only what a collection is read from is fetched, its shards and its manifest, all of one commit; what was
fetched before is not fetched again. Does not know records.
"""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError

from hub_instructpt.errors import InputError
from hub_instructpt.hub.failures import told
from hub_instructpt.hub.sources import source_facts
from hub_instructpt.runs.manifest import MANIFEST

WANTED = [MANIFEST, "*/shard/*.jsonl"]


def collection_folder(where: str, revision: str | None = None) -> Path:
    """The folder of a collection: `where` itself, if it is a path; else the dataset of that id is fetched.

    Raises:
        InputError: there is no such folder, and no such dataset on the Hub.
        HubError: the Hub does not answer.
    """
    path = Path(where).expanduser()
    if path.exists():
        return path
    if path.is_absolute() or where.startswith((".", "~")) or where.count("/") != 1:
        raise InputError(
            f"{where} is not there.", advice="Give what `hub-instructpt collect` wrote, or NAMESPACE/NAME on the Hub."
        )
    commit = source_facts(where, None, "train", revision).revision
    try:
        return Path(snapshot_download(where, repo_type="dataset", revision=commit, allow_patterns=WANTED))
    except HFValidationError as error:
        raise InputError(f"{where!r} is no id of a dataset: {error}") from None
    except Exception as error:
        raise told(error, f"fetch {where}") from None
