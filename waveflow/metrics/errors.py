"""What a metric raises where a figure does not exist."""


class UndefinedMetric(ValueError):
    """The metric has no value on these signals, as pitch error where nothing is voiced; it says why."""
