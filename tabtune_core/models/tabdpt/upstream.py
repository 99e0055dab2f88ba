"""What we rely on in tabdpt. Data only; loads no torch."""

from tabtune_core.upstream import Upstream

UPSTREAM = Upstream(
    distribution="tabdpt",
    tested=("1.3",),
    names={
        "tabdpt.model:TabDPTModel": "the class of the module, its submodules, sizes and state dict",
        "tabdpt.model:TabDPTModel.load": "a module from the configuration in a checkpoint",
        "tabdpt.model:TransformerEncoderLayer": "a stage, which returns the change of its input",
        "tabdpt.model:TransformerEncoderLayer.get_scale_param": "the attention's scale, of three numbers of the layer",
    },
)
