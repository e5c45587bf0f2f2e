"""The Hub: what it says of a source, collections fetched from it, and runs pushed to it as dataset repos."""

from hub_instructpt.hub.downloads import collection_folder
from hub_instructpt.hub.publications import kind_of
from hub_instructpt.hub.pushing import Pushed, push
from hub_instructpt.hub.sources import source_facts

__all__ = ["Pushed", "collection_folder", "kind_of", "push", "source_facts"]
