"""Runs on Ray: the shards of a run as tasks on an existing cluster.

    from hub_instructpt.on_ray.driver import augment_on_ray

    driver   has the run directory; hands out shards, gathers what is told, keeps the manifest
    task     makes some shards on some machine of the cluster
    board    an actor in between: what tasks tell the driver, and that they are to stop

Keeps true: the same bytes as one process makes; what a lost machine had been answered is not asked again, because the
journals lie in the run directory, which all machines share.
`ray` is an extra, hub-instructpt[ray]; importing this package does not load it.
"""
