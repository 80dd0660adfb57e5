"""Functions of tensors: gates, the recurrence over time, and all that knows about lengths. No Module, no clip."""
