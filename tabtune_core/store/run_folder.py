"""Names of the files in a run's folder; an adapter from elsewhere has the same name in its own folder.

Loads no torch.
"""

ADAPTER_FILE = "adapter.zip"
"""The adapter package."""
PREDICTIONS_FILE = "predictions.parquet"
"""Predictions of the held-out rows, one row each."""
LOG = "log.txt"
"""Everything that the run's processes print; a job's folder has one too."""
STATES = "states"
"""Folder of the best and the last state during training; deleted when the run ends, unless it is interrupted."""
LAST_STATE = "last.pt"
"""The file in STATES from which training resumes."""
