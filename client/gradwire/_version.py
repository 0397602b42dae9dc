"""The version of the distribution, read by the build, the SDK and the server."""

__version__ = "0.1.0"
