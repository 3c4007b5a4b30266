"""Ways to use onnxplain: the command line, the Python client, clients in other languages."""

if not __name__.startswith("onnxplain."):
    raise ImportError("import onnxplain.clients, not clients")
