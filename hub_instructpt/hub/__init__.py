"""The Hub: what it says of a source, and directories pushed to it, verified there and gathered in collections.

    failures        what went wrong there, as an error of ours
    attempts        a call made until it is through
    repos           a repo as others left it
    layout          where in a repo a directory goes
    publications    what of a directory goes there
    uploads         files on their way, before a commit shows them
    pushing         a directory becomes a repo, or a config of one
    buckets         a directory in a storage bucket, which has no commits
    pushing_along   the same, while the run goes on
    gathering       a collection of what belongs together
    verifying       a repo is what its manifest claims
    sources         what the Hub says of a dataset that is about to be read
    downloads       a collection fetched from it

Keeps true: no token is ever in a message; only the rooms of this folder talk to the Hub.
"""

from hub_instructpt.hub.buckets import BEGINNING as BUCKETS
from hub_instructpt.hub.buckets import push_to_bucket
from hub_instructpt.hub.downloads import collection_folder
from hub_instructpt.hub.gathering import Gathered, Item, gather
from hub_instructpt.hub.publications import kind_of
from hub_instructpt.hub.pushing import Pushed, push
from hub_instructpt.hub.pushing_along import COMMIT_EVERY, PushingAlong
from hub_instructpt.hub.sources import source_facts
from hub_instructpt.hub.verifying import Verified, verify_repo

__all__ = [
    "BUCKETS",
    "COMMIT_EVERY",
    "Gathered",
    "Item",
    "Pushed",
    "PushingAlong",
    "Verified",
    "collection_folder",
    "gather",
    "kind_of",
    "push",
    "push_to_bucket",
    "source_facts",
    "verify_repo",
]
