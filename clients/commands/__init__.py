"""The sub-commands of the command line, one file each: ``add_arguments`` and ``run``."""

if not __name__.startswith("onnxplain."):
    raise ImportError("import onnxplain.clients.commands, not clients.commands")
