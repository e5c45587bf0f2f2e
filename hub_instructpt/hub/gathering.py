"""A collection on the Hub: corpora, fine-tuning data, models and papers that belong together, each with a note.

Keeps true: the same call again changes nothing; what is in a collection and not in the call stays, and so does the
order. Of the cards, only those with a part of ours are touched, and of those only the part that names the siblings.
Does not know what a corpus is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError

from hub_instructpt import cards
from hub_instructpt.errors import CardError, HubError, SettingsError
from hub_instructpt.hub.attempts import Advance, until_through
from hub_instructpt.hub.failures import check_token, is_passing, new_api, told
from hub_instructpt.hub.pushing import CARD
from hub_instructpt.hub.repos import Repo

Kind = Literal["dataset", "model", "paper", "space"]
FOLDERS = {"dataset": "datasets/", "model": "", "paper": "papers/", "space": "spaces/"}
SITE = "https://huggingface.co"
LONGEST_TITLE, LONGEST_NOTE = 60, 500


@dataclass(frozen=True, slots=True)
class Item:
    """A member of a collection. `kind` is None where the Hub has to be asked."""

    name: str
    kind: Kind | None = None
    note: str | None = None

    @classmethod
    def parse(cls, text: str) -> Item:
        """Read `[KIND:]NAME[=NOTE]`; a name may be an address on the Hub, and a paper is known by its number.

        Raises:
            SettingsError: it is nothing like that.
        """
        name, _, note = text.partition("=")
        name = re.sub(r"^https?://[^/]+/(?=.)", "", name.strip()).strip("/")
        name = re.sub("^(paper|dataset|space)s/", r"\1:", name)
        said, colon, rest = name.partition(":")
        kind: str | None = said if colon else "paper" if re.fullmatch(r"\d{4}\.\d{4,5}", name) else None
        name = rest if colon else name
        fits = re.fullmatch(r"\d{4}\.\d{4,5}" if kind == "paper" else r"[\w.-]+/[\w.-]+", name)
        if kind not in (None, *FOLDERS) or not fits:
            raise SettingsError(
                f"{text[:100]!r} is no member of a collection.",
                advice="Give NAMESPACE/NAME, model:NAMESPACE/NAME or the number of a paper, and =NOTE where you like.",
            )
        if len(note.strip()) > LONGEST_NOTE:
            raise SettingsError(f"The note on {name} has more than {LONGEST_NOTE} characters.", advice="Shorten it.")
        return cls(name, cast(Kind | None, kind), note.strip() or None)

    @property
    def url(self) -> str:
        """Its page."""
        return f"{SITE}/{FOLDERS[self.kind or 'model']}{self.name}"


@dataclass(slots=True)
class Gathered:
    """A collection as it is now. `changes` says what was done, in words; `notes` what could not be."""

    slug: str
    url: str
    items: list[Item]
    changes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def gather(
    title: str,
    items: Sequence[Item],
    *,
    namespace: str | None = None,
    description: str | None = None,
    private: bool | None = None,
    link: bool = True,
) -> Gathered:
    """Make a collection, or bring the one of that title up to date.

    Args:
        title: of the collection; at most 60 characters.
        items: what belongs into it; what is there already stays.
        namespace: whose it is; by default the user's.
        description: None leaves it.
        private: None leaves it; a new one is public then.
        link: let the cards of the members name the collection and each other, where they have a part of ours.

    Raises:
        SettingsError: a title or a note that is too long.
        HubError: no token, no right, no answer, or a member that is not there.
    """
    if not 0 < len(title.strip()) <= LONGEST_TITLE:
        raise SettingsError(f"A title has 1 to {LONGEST_TITLE} characters, not {len(title.strip())}.")
    doing, advance, api = f"gather the collection {title!r}", Advance(), new_api()
    check_token(doing)
    changes: list[str] = []

    def attempt() -> Gathered:
        known = [_known(api, item) for item in items]
        collection = _found_or_made(api, title.strip(), namespace, description, private, changes)
        advance.reached = True
        _fill(api, collection, known, changes, advance)
        there = api.get_collection(collection.slug)
        members = [
            Item(each.item_id, cast(Kind, each.item_type), each.note)
            for each in there.items
            if each.item_type in FOLDERS
        ]
        return Gathered(there.slug, f"{api.endpoint}/collections/{there.slug}", members, list(dict.fromkeys(changes)))

    gathered = until_through(doing, attempt, advance)
    if link:
        for item in gathered.items:
            if item.kind in ("dataset", "model"):
                _link(api, item, title.strip(), gathered)
    return gathered


def _known(api: HfApi, item: Item) -> Item:
    """A member whose kind is known, and which is there."""
    if item.kind not in (None, "dataset", "model"):
        return item
    for kind in (item.kind,) if item.kind else ("dataset", "model"):
        if api.repo_exists(item.name, repo_type=kind):
            return Item(item.name, cast(Kind, kind), item.note)
    raise HubError(
        f"There is no {item.kind or 'dataset or model'} {item.name} on the Hub, or no right to see it.",
        advice="Push it first, or check the name.",
    )


def _found_or_made(
    api: HfApi, title: str, namespace: str | None, description: str | None, private: bool | None, changes: list[str]
) -> Any:
    owner = namespace or api.whoami()["name"]
    found = next((each for each in api.list_collections(owner=owner) if each.title == title), None)
    if found is None:
        changes.append("made")
        return api.create_collection(
            title, namespace=owner, description=description, private=bool(private), exists_ok=True
        )
    there = api.get_collection(found.slug)  # a list shows but a few items of each
    wanted = {"description": description, "private": private}
    differing = {key: value for key, value in wanted.items() if value not in (None, getattr(there, key))}
    if differing:
        changes += [f"{key} changed" for key in differing]
        api.update_collection_metadata(there.slug, **cast(Any, differing))
    return there


def _fill(api: HfApi, collection: Any, items: Iterable[Item], changes: list[str], advance: Advance) -> None:
    there = {(each.item_type, each.item_id): each for each in collection.items}
    for item in items:
        known = there.get((item.kind, item.name))
        if known is None:
            changes.append(f"{item.kind} {item.name} added")
            api.add_collection_item(collection.slug, item.name, cast(Any, item.kind), note=item.note, exists_ok=True)
        elif item.note is not None and item.note != known.note:
            changes.append(f"note on {item.name} changed")
            api.update_collection_item(collection.slug, known.item_object_id, note=item.note)
        advance.steps += 1


# -- the cards -------------------------------------------------------------------------------------------------------


def links_part(gathered: Gathered, title: str, own: Item) -> str:
    """The part of a card that names the collection and the siblings."""
    rows = [
        f"- {item.kind} [{cards.markdown(item.name)}]({item.url})"
        + (f": {cards.markdown(item.note)}" if item.note else "")
        for item in gathered.items
        if (item.kind, item.name) != (own.kind, own.name)
    ]
    whole = f"Part of the collection [{cards.markdown(title)}]({SITE}/collections/{gathered.slug})"
    body = [f"{whole}{', with' if rows else '.'}", "", *rows]
    return "\n".join([cards.begin(cards.LINKS), "", "## What belongs together", "", *body, "", cards.end(cards.LINKS)])


def _link(api: HfApi, item: Item, title: str, gathered: Gathered) -> None:
    """Write that part into the card of a member, if it is a card of ours that we may change."""
    advance = Advance()
    repo = Repo(api, item.name, "dataset" if item.kind == "dataset" else "model", None, advance)

    def attempt() -> bool | None:
        there = repo.look()
        content = repo.read(CARD, there) if there else None
        if there is None or content is None:
            return None
        card = cards.decode_card(content)
        _, body = cards.split_card(card)
        if not cards.parts_of(body):
            return None
        front = card[: len(card) - len(body)]
        merged = cards.merge_body(body, links_part(gathered, title, item), cards.LINKS).strip()
        fresh = "\n".join([*([front] if front else []), merged, ""])
        if fresh == card:
            return False
        try:
            api.create_commit(
                item.name, [CommitOperationAdd(CARD, fresh.encode())], repo_type=repo.repo_type,
                parent_commit=there.commit, commit_message="Name what belongs together (hub-instructpt)",
            )  # fmt: skip
        except HfHubHTTPError as error:
            if is_passing(error):
                raise
            raise told(error, f"change the card of {item.name}") from None
        return True

    try:
        changed = until_through(f"change the card of {item.name}", attempt, advance)
    except (HubError, CardError) as error:
        gathered.notes.append(str(error))
        return
    if changed:
        gathered.changes.append(f"card of {item.name} linked")
    elif changed is None:
        gathered.notes.append(f"The card of {item.name} has no part of hub-instructpt, and stays as it is.")
