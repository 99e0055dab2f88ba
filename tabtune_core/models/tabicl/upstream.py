"""What we rely on in tabicl. Data only; loads no torch."""

from tabtune_core.upstream import Upstream

UPSTREAM = Upstream(
    distribution="tabicl",
    tested=("2.2",),
    names={
        "tabicl._model.tabicl:TabICL": "the class of the module, its submodules and its state dict",
        "tabicl._model.tabicl:TabICL._inference_forward": "an entry that calls the stages",
        "tabicl._model.tabicl:TabICL.predict_stats": "numbers from quantiles",
        "tabicl._model.tabicl:TabICL.predict_stats_with_cache": "numbers beside a cached context",
        "tabicl._model.tabicl:TabICL.forward_with_cache": "class probabilities beside a cached context",
        "tabicl._model.embedding:ColEmbedding": "the column stage, and the object that splits its work",
        "tabicl._model.embedding:ColEmbedding._compute_embeddings": "the column stage, left out for reserved columns",
        "tabicl._model.learning:ICLearning": "the in-context stage, which keeps the tree of many classes",
        "tabicl._model.learning:ICLearning._icl_predictions": "its answers, left out for the context rows",
        "tabicl._model.learning:ICLearning._icl_predictions_repr_cache": "the same beside a cached context",
        "tabicl._model.layers:MultiheadAttentionBlock": "the last block, left out for the context rows",
        "tabicl._model.layers:SkippableLinear": "asks for reserved columns, which a training step need not",
        "tabicl._model.layers:InducedSelfAttentionBlock": "its inducing points ask once for all columns",
        "tabicl._model.layers:InducedSelfAttentionBlock.induced_attention": "the same layer without that question",
        "tabicl._model.layers:MultiheadAttention": "its projections, its rotation and its scaling, computed without copies",
        "tabicl._model.rope:RotaryEmbedding": "its frequencies, and which numbers are a pair",
        "tabicl._model.attention:sdpa_with_flattened_batch": "attention of many tables at once",
        "tabicl._model.ssmax:_logn": "the logarithm of the number of rows, a wait for a GPU",
        "tabicl._model.attention:set_flash_attn3_enabled": "keeps attention in fp32",
        "tabicl._sklearn.preprocessing:PreprocessingPipeline": "normalisation of the features",
        "tabicl._sklearn.preprocessing:UniqueFeatureFilter": "leaves constant columns out",
        "tabicl.prior:PriorDataset": "synthetic tables of pre-training",
    },
)
