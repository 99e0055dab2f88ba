"""What we rely on in torch. Data only; loads no torch."""

from tabtune_core.upstream import Upstream

UPSTREAM = Upstream(
    distribution="torch",
    names={
        "torch._C:DisableTorchFunctionSubclass": "a weight with an update beside it, read as a plain tensor",
        "torch._C:_disabled_torch_function_impl": "labels that answer for themselves",
        "torch:_foreach_copy_": "factors in 16 bits, in one copy",
        "torch._dynamo:config": "loaded ahead of the first optimizer",
        "torch:ops.aten.native_dropout": "dropout in one kernel",
        "torch:ops.aten.native_dropout_backward": "the same mask once more",
        "torch:ops.aten._unsafe_view": "an output that autograd may change in place",
    },
)
