"""The terms of the product: the Guide page and the documentation list them, the other pages explain those that they use."""

TERMS = {
    "Adapter": "The trained low-rank factors of one run. See *adapter package*.",
    "Adapter package": "A zip file with the factors, `tabtune.json` and a README with loading code. It holds no rows of your table, "
    "but its column names and, unless you leave them out, its class labels.",
    "Alpha": "Scale of the update: the product of the factors is multiplied by alpha / rank. Default: twice the rank.",
    "Base model": "The pretrained model, whose weights stay frozen while LoRA trains.",
    "Best checkpoint": (
        "The weights with the best selection metric on the validation rows. The pretrained weights are the first candidate."
    ),
    "Calibration": "How well the probabilities of a model match how often it is right.",
    "Claim": (
        "The statement that a configuration is better than zero-shot. It is made only if the 95 % interval on the test rows, "
        "which were not used for any choice, excludes zero. Runs whose seed moves the test rows say so beside it."
    ),
    "Context row": (
        "A row with its label that is given to the model as an example. These models predict from context rows, as a language "
        "model does from its prompt."
    ),
    "Context rows at prediction": "Their number when held-out or new rows are predicted. Every strategy is scored with the same number.",
    "Dropout": (
        "Share of the adapter's inputs that is set to zero at random during training. It acts on the input of the factor A, "
        "never on the frozen path."
    ),
    "Early stopping": "Training ends after `patience` evaluations without a better selection metric.",
    "Ensemble size": (
        "Number of random column and class orders (ensemble members) over which a prediction is averaged. Settings call it `views`."
    ),
    "Episode": "One training example of a tabular foundation model: context rows and query rows drawn from the training rows.",
    "Epoch": "One pass over the training rows: ceil(training rows / query rows per step) steps.",
    "Estimate": "A figure that was computed, not measured. The pages mark it as an estimate.",
    "Evaluation": "A prediction of the validation rows during training, with its score.",
    "Full fine-tuning": "Training of every weight of the base model (`base-ft`).",
    "Gain": "The difference of a score to the run's own zero-shot score; positive means better.",
    "Gradient checkpointing": "Activations are recomputed in the backward pass: less memory, more time.",
    "Growth (of memory)": (
        "Peak memory of a phase above the loaded base model. Rankings use it, because the process itself is larger than a small model."
    ),
    "Held-out rows": (
        "The validation rows, which are used for choices and move with the seed, and the test rows, which are only reported and are "
        "the same for every seed of a table and split."
    ),
    "Hyperparameter": "A setting of LoRA or of training, such as the rank or the learning rate.",
    "Interval, ±": (
        "A 95 % interval, and half its width. Where rare rows make large differences its sides differ, and ± is the one towards 0. It is "
        "of paired differences: of rows, whole groups under a split by group, or blocks of time under one by time; copies of a row count "
        "once. Too few of them, or of the rows of a class, give none."
    ),
    "LoRA": "Low-rank adaptation: W + (alpha / r) B A in place of W, where only A and B train (Hu et al. 2021, arXiv 2106.09685).",
    "Mean over seeds": (
        "A configuration is run under several seeds; each moves the training and validation rows, the adapter's start and the episodes."
    ),
    "Merged checkpoint": "The base weights with the update added. It is as fast as the base model and opens in the upstream package.",
    "Pareto front": "The best trade-offs: runs that no other run beats on all chosen axes.",
    "Pipeline file": "A fitted `TabularPipeline` in one file, context rows included.",
    "Prefix cache": "The output of the frozen layers before the first adapted one, computed once for an input and used again.",
    "Query row": "A row that the model must predict from the context rows. `batch_size` is the number of query rows per step.",
    "Quick sweep": "LoRA runs that differ in few settings and train together in one pass, as one pack.",
    "Rank": "Width r of the factors A and B. It limits in how many independent directions a weight can change.",
    "Reference": "Logistic or ridge regression and gradient boosting from scikit-learn on the same split, without a foundation model.",
    "Run": "One strategy with one group of settings and one seed, on one table.",
    "Seed": (
        "Moves the training and validation rows, the adapter's start and the episodes. Runs of a sweep that share a seed share all of "
        "them, so their differences are paired."
    ),
    "Selection metric": "The validation score that decides early stopping, the best checkpoint and the default ranking.",
    "Step": "One optimizer step on one episode.",
    "Sweep": "Runs of a grid that were started together.",
    "Tabular foundation model": (
        "A model that was pretrained on many tables and predicts the rows of a new one from context rows, without training."
    ),
    "Target (column)": "The column to predict.",
    "Target leakage": "A column gives the target away, although it is not known before the outcome is.",
    "Target module": "A module (layer) of the model that gets an adapter.",
    "Truncation": "Reduction of a trained update to a lower rank by singular value decomposition, without retraining.",
    "Worker": "The process that executes queued runs, with one child process per run.",
    "Workspace": "The folder with tables, runs and the queue, `~/.tabtune` unless set.",
    "Zero-shot": "The base model without training (`inference`).",
}
"""Term to definition, in Markdown, in alphabetical order."""


def define(*terms: str) -> str:
    """The help text that explains ``terms``, with a link to all of them."""
    return "\n\n".join([*(f"**{term}**: {TERMS[term]}" for term in terms), "[All terms](guide?tab=glossary)"])
