"""Every error that Unreel raises on purpose. Each message says what was expected, what came, and what to do."""


class UnreelError(Exception):
    """The base of all errors below: catch this one to catch them all."""


class ReadError(UnreelError):
    """A file cannot be read as frames.

    `path` is the file as the caller named it, `reason` one printable line.
    """

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = str(path)
        self.reason = reason

    def __reduce__(self) -> tuple[type["ReadError"], tuple[str, str]]:
        return ReadError, (self.path, self.reason)


class ManifestError(UnreelError):
    """A table of examples, or a folder meant as one, does not say what it must."""


class LeakError(UnreelError):
    """The same content stands on two sides of a split. The message lists the files."""


class ConfigError(UnreelError):
    """A setting, or a combination of settings, cannot be met."""


class RunError(UnreelError):
    """A folder is not a run, or not one that the requested action can start from."""


class DownloadError(UnreelError):
    """A file cannot be fetched from the internet, or what came is not what was asked for."""
