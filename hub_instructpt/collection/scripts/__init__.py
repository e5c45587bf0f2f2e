"""The converters in dataset_scripts/, as modules: `hub_instructpt.collection.scripts.squad`.

The folder lies beside the package in a checkout and inside it in a wheel; here it becomes importable in either.
"""

from hub_instructpt.resources import find

__path__ = [str(find("dataset_scripts"))]
