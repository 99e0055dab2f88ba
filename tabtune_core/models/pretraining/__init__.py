"""Pre-training of the small base models that ship in the package: ``python -m tabtune_core.models.pretraining --help``.

In: synthetic tables from ``tabicl.prior``. Out: checkpoints in the upstream packages' own schemas.
Needs the extra ``pretrain`` (xgboost, which the tree prior uses).
"""
