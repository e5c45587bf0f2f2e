"""A dataset on the Hub as a source, streamed by `datasets`.

Keeps true: what is read is pinned to one commit; whatever a loader may raise becomes one line that says what to do.
Does not know the Hub's API: what it says of a dataset (commit, licence) is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from hub_instructpt.errors import InputError, RunError
from hub_instructpt.runs.kept_columns import is_text, plain_type, settled_type
from hub_instructpt.runs.manifest import SourceFacts
from hub_instructpt.runs.readers import RawRow
from hub_instructpt.runs.sources import Source, one_line, require


def open_dataset(
    repo_id: str, config_name: str | None, split: str, facts: SourceFacts, text_column: str, keep_columns: Sequence[str]
) -> Source:
    """A dataset on the Hub, streamed.

    Args:
        facts: what the Hub says of it; a `revision` there pins what is read.

    Raises:
        InputError: no such dataset, config, split or column.
    """
    import datasets

    try:
        dataset = datasets.load_dataset(repo_id, config_name, split=split, revision=facts.revision, streaming=True)
        first = next(iter(dataset), None)
    except FileNotFoundError as error:  # DatasetNotFoundError is one
        raise InputError(
            one_line(error), advice="A private or gated dataset needs a token: `hf auth login` or HF_TOKEN."
        ) from None
    except (ConnectionError, TimeoutError) as error:
        raise InputError(f"The Hub can not be reached for {repo_id}: {type(error).__name__}.") from None
    except Exception as error:  # whatever a loader of `datasets` may raise
        raise InputError(
            f"{repo_id} can not be read so: {one_line(error)}", advice="Check --config and --split."
        ) from None
    if first is None:
        raise InputError(f"The split {split!r} of {repo_id} holds no rows.")
    features = dataset.features
    require([text_column, *keep_columns], list(features or first), repo_id)
    # JSON files do not tell their types beforehand, and the first rows may mislead: strings hold whatever comes.
    kept = dict.fromkeys(keep_columns, pa.string())
    if features is not None:
        schema = features.arrow_schema
        if not is_text(plain_type(schema.field(text_column).type)):
            raise InputError(f"The column {text_column!r} of {repo_id} holds {features[text_column]}, not text.")
        kept = {name: settled_type(schema.field(name).type) for name in keep_columns}

    known = (dataset.info.splits or {}).get(split)
    if known is not None and known.num_examples:
        facts = facts.model_copy(update={"num_rows": known.num_examples})

    return Source(facts, text_column, kept, HubRows(repo_id, config_name, split, facts.revision, dataset))


class HubRows:
    """The rows of a dataset on the Hub, from any row on. What travels to another process opens it there once more."""

    def __init__(
        self, repo_id: str, config_name: str | None, split: str, revision: str | None, dataset: Any = None
    ) -> None:
        self.repo_id, self.config_name, self.split, self.revision = repo_id, config_name, split, revision
        self._dataset = dataset

    def __call__(self, start: int) -> Iterator[RawRow]:
        try:
            if self._dataset is None:
                import datasets

                self._dataset = datasets.load_dataset(
                    self.repo_id, self.config_name, split=self.split, revision=self.revision, streaming=True
                )
            for row in self._dataset.skip(start) if start else self._dataset:
                start += 1
                yield row
        except Exception as error:
            raise RunError(
                f"Reading {self.repo_id} broke off after row {start:,}: {one_line(error)}",
                advice="Run the same again: what was answered is kept.",
            ) from None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_dataset": None}
