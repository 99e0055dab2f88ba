"""From a person's file to rows that a model can be shown: read, typed, checked, kept, encoded, split, drawn."""
