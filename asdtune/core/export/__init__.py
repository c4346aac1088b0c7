"""Share the model: the folder laid over an AnnoTheia checkout."""
