"""What we rely on in AutoGluon's Mitra. Data only; loads no torch."""

from tabtune_core.upstream import Upstream

_TAB2D = "autogluon.tabular.models.mitra._internal.models.tab2d"
UPSTREAM = Upstream(
    distribution="autogluon.tabular",
    tested=("1.6",),
    names={
        f"{_TAB2D}:Tab2D": "the class of the module, its submodules and its state dict",
        f"{_TAB2D}:Tab2D.save_pretrained": "writes a checkpoint's folder",
        f"{_TAB2D}:Layer": "a stage, which takes and gives context and query side by side",
        f"{_TAB2D}:checkpoint": "recomputation, which pre-training of the minis leaves out",
    },
)
