"""Names of torch that are not public and that we use. Data only; loads no torch."""

from tabtune_core.upstream import Upstream

UPSTREAM = Upstream(
    distribution="torch",
    names={
        "torch._C:DisableTorchFunctionSubclass": "reads the plain tensor of a weight with a separate update",
        "torch._C:_disabled_torch_function_impl": "labels that override torch's functions",
        "torch:_foreach_copy_": "copies all factors to 16 bits at once",
        "torch._dynamo:config": "loaded ahead of the first optimizer",
        "torch:ops.aten.native_dropout": "dropout in one kernel",
        "torch:ops.aten.native_dropout_backward": "applies a dropout mask again",
        "torch:ops.aten._unsafe_view": "an output that may be changed in place under autograd",
    },
)
