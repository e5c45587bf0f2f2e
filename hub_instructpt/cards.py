"""Dataset cards: a manifest becomes a README with the metadata that the Hub and `datasets` read.

Keeps true: everything comes from the manifest, and what is unknown is left out; `dataset_info` agrees with the files;
text from outside can not break the page or the YAML. On a second push the parts that a person wrote survive: ours
stand between two marks, and of the metadata we touch only our own keys.
Does not know the Hub's API.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
import pyarrow.parquet as pq
import yaml

from hub_instructpt import resources
from hub_instructpt.errors import CardError
from hub_instructpt.runs.files import write_text
from hub_instructpt.runs.manifest import Manifest

BEGIN = "<!-- hub-instructpt: begin of the generated part; what stands outside of it is kept -->"
END = "<!-- hub-instructpt: end of the generated part -->"
TINY = "hub-instructpt/tiny-synthesizer"
ENGINE_NAMES = {"tgi": "text-generation-inference", "local": "transformers in process"}

# Upper bounds of the Hub's size categories.
SIZES = {
    1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M", 10_000_000: "1M<n<10M",
    100_000_000: "10M<n<100M", 1_000_000_000: "100M<n<1B", 10_000_000_000: "1B<n<10B",
}  # fmt: skip


def write_card(folder: Path, repo_id: str | None = None) -> Path:
    """Write `README.md` of a run directory; parts of an earlier one that a person wrote are kept.

    Args:
        repo_id: where the corpus will lie on the Hub; the example of how to load it names it.
    """
    path = folder / "README.md"
    earlier = path.read_text("utf-8") if path.exists() else None
    write_text(path, render_card(Manifest.load(folder), folder, repo_id, earlier))
    return path


def render_card(manifest: Manifest, folder: Path, repo_id: str | None = None, earlier: str | None = None) -> str:
    """The card of a run.

    Args:
        manifest: of the run.
        folder: the run directory; the columns are read from its first shard.
        repo_id: the repo it is for.
        earlier: a card that it takes the place of.
    """
    ours = _template().render(_values(manifest, repo_id)).strip()
    metadata = card_metadata(manifest, folder)
    if earlier is None:
        return _page(metadata, ours)
    theirs, body = split_card(earlier)
    return _page(merge_metadata(theirs, metadata), merge_body(body, ours))


def card_metadata(manifest: Manifest, folder: Path) -> dict[str, Any]:
    """The YAML part of the card. Keys whose value is unknown are left out."""
    num_rows = sum(shard.num_rows for shard in manifest.shards)
    licenses = [manifest.license] if manifest.license else manifest.source.license or []
    metadata: dict[str, Any] = {
        "pretty_name": _title(manifest),
        "license": licenses[0] if len(licenses) == 1 else licenses,
        "language": manifest.source.language,
        "task_categories": ["text-generation"],
        "size_categories": [next((name for bound, name in SIZES.items() if num_rows < bound), "n>1T")],
        "source_datasets": [manifest.source.name] if manifest.source.kind == "hub" else None,
        "tags": ["instruction-pretraining", "instruction-augmented", "synthetic", "hub-instructpt"],
        "configs": [
            {"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]},
        ],
        "dataset_info": _dataset_info(manifest, folder),
    }
    return {key: value for key, value in metadata.items() if value}


def _dataset_info(manifest: Manifest, folder: Path) -> dict[str, Any] | None:
    if not manifest.shards:
        return None
    import datasets

    schema = pq.read_schema(folder / manifest.shards[0].path)
    size = sum(shard.arrow_bytes for shard in manifest.shards)
    split = datasets.SplitInfo("train", size, sum(shard.num_rows for shard in manifest.shards))
    info = datasets.DatasetInfo(
        features=datasets.Features.from_arrow_schema(schema),
        splits=datasets.SplitDict({"train": split}),
        download_size=sum(shard.num_bytes for shard in manifest.shards),
        dataset_size=size,
    )
    data: dict[str, Any] = {}
    datasets.info.DatasetInfosDict({"default": info}).to_dataset_card_data(data)
    return dict(data["dataset_info"])


# -- a card that is there already ----------------------------------------------------------------------------------


def split_card(card: str) -> tuple[dict[str, Any], str]:
    """Metadata and body of a card.

    Raises:
        CardError: the metadata are no YAML mapping.
    """
    found = re.match(r"\A\ufeff?---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", card, re.DOTALL | re.MULTILINE)
    if not found:
        return {}, card
    try:
        metadata = yaml.safe_load(found[1]) or {}
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", 0) + 2
        raise CardError(f"The metadata of the card are not YAML (line {line}).", advice="Mend its README.md.") from None
    if not isinstance(metadata, dict):
        raise CardError("The metadata of the card are no mapping.", advice="Mend its README.md.")
    return metadata, card[found.end() :]


def merge_metadata(theirs: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    """Ours over theirs; other configs, further tags and a licence that a person has set stay."""
    merged = {**theirs, **ours}
    merged["tags"] = list(dict.fromkeys([*_list(theirs.get("tags")), *ours["tags"]]))
    for key in ("pretty_name", "license"):
        if theirs.get(key):
            merged[key] = theirs[key]
    others = [c for c in _list(theirs.get("configs")) if isinstance(c, dict) and c.get("config_name") != "default"]
    merged["configs"] = [*ours["configs"], *others]
    infos = [
        info
        for info in _list(theirs.get("dataset_info"))
        if isinstance(info, dict) and info.get("config_name", "default") != "default"
    ]
    if infos and "dataset_info" in ours:
        merged["dataset_info"] = [{"config_name": "default", **ours["dataset_info"]}, *infos]
    return merged


def merge_body(theirs: str, ours: str) -> str:
    """Our part in its place; a body that has no such place gets ours below."""
    start, stop = theirs.find(BEGIN), theirs.find(END)
    if 0 <= start < stop:
        return theirs[:start] + ours + theirs[stop + len(END) :]
    return f"{theirs.rstrip()}\n\n{ours}" if theirs.strip() else ours


def _page(metadata: dict[str, Any], body: str) -> str:
    front = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True, width=120)
    return f"---\n{front}---\n\n{body.strip()}\n"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


# -- what the template is given --------------------------------------------------------------------------------------


def _values(manifest: Manifest, repo_id: str | None) -> dict[str, Any]:
    counts = manifest.counts

    def group(name: str) -> list[tuple[str, int]]:
        return counts_of(manifest, name)

    without = sum(number for _, number in group("texts_without_pairs"))
    with_pairs = counts["texts/all"] - without
    source, engine = manifest.source, manifest.engine
    return {
        "begin": BEGIN,
        "end": END,
        "m": manifest,
        "counts": counts,
        "group": group,
        "title": _title(manifest),
        "total": manifest.settings.limit or source.num_rows,
        "without_pairs": without,
        "pairs_per_text": f"{counts['pairs/kept'] / with_pairs:.2f}" if with_pairs else "–",
        "num_rows": sum(shard.num_rows for shard in manifest.shards),
        "kept": ", ".join(f"`{_code(name)}`" for name in manifest.kept_types),
        "repo_id": repo_id or "NAMESPACE/NAME",
        "source": _linked(source.name, "datasets/", source.kind == "hub")
        + "".join(f", {_markdown(part)}" for part in (source.config_name, source.split) if part),
        "model": _linked(
            engine.model_id, "", re.fullmatch(r"[\w.-]+/[\w.-]+", engine.model_id) and not _tiny(manifest)
        ),
        "tiny": _tiny(manifest),
        "license": manifest.license or source.license,
        "engine_names": ENGINE_NAMES,
    }


def counts_of(manifest: Manifest, group: str) -> list[tuple[str, int]]:
    """Names and numbers of one group of counts, the largest first."""
    found = [(key.partition("/")[2], number) for key, number in manifest.counts.items() if key.startswith(f"{group}/")]
    return sorted(((name, number) for name, number in found if number), key=lambda item: (-item[1], item[0]))


def words(name: str) -> str:
    """What a count is called for people."""
    return _words().get(name, name.replace("_", " "))


def _tiny(manifest: Manifest) -> bool:
    return manifest.engine.model_id == TINY


def _title(manifest: Manifest) -> str:
    return f"{manifest.source.name}, instruction-augmented"


def _looks_like_repo(model_id: str) -> bool:
    return re.fullmatch(r"[\w.-]+/[\w.-]+", model_id) is not None


def _linked(name: str, prefix: str, on_hub: object) -> str:
    return f"[{_markdown(name)}](https://huggingface.co/{prefix}{name})" if on_hub else _markdown(name)


def _markdown(text: str) -> str:
    """Text as itself: on one line, with nothing in it that Markdown or HTML would read as a sign."""
    flat = "".join(c if c.isprintable() else " " for c in str(text))
    return re.sub(r"([\\`*_{}\[\]<>()#|~$!&])", lambda found: f"&#{ord(found[0])};", flat)


def _code(text: str) -> str:
    """Text for a code span inside a table: no back ticks, bars or line breaks."""
    return "".join(c if c.isprintable() and c not in "`|" else " " for c in str(text))


def _fence(text: str) -> str:
    """Text for a fenced block: nothing that would close it."""
    return str(text).replace("```", "` ` `").replace("\r", " ").replace("\n", " ")


@lru_cache(maxsize=1)
def _words() -> dict[str, str]:
    loaded = yaml.safe_load((resources.find("cards") / "words.yaml").read_text("utf-8"))
    if not isinstance(loaded, dict) or not all(isinstance(v, str) for v in [*loaded, *loaded.values()]):
        raise CardError("cards/words.yaml must map names to words.")
    return loaded


@lru_cache(maxsize=1)
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(resources.find("cards")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # the page is Markdown; every value goes through a filter of ours
    )
    environment.filters |= {"md": _markdown, "code": _code, "fence": _fence, "n": "{:,}".format, "words": words}
    return environment.get_template("corpus.md.jinja")
