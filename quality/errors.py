"""The error tree of `quality`.

QualityError
└── UnknownDimension    the recipe names a dimension that does not exist
"""


class QualityError(Exception):
    """Base of everything `quality` raises on purpose."""


class UnknownDimension(QualityError):
    """No dimension of this name is registered. The message lists those that are."""
