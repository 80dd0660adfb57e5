"""Models that other libraries saved, as modules of torch and Unreel. One library, one folder; each an extra."""
