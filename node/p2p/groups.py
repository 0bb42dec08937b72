"""Exception groups, taken apart."""


def errors_inside(error: Exception) -> list[Exception]:
    """The errors inside, at any depth; the error itself if it is no group."""
    inner: tuple[Exception, ...] = getattr(error, "exceptions", ())
    if not inner:
        return [error]
    return [leaf for each in inner for leaf in errors_inside(each)]
