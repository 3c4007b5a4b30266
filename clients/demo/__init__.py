"""The demo: a real ImageNet classifier, a real photo, the real server, pictures to look at."""

if not __name__.startswith("onnxplain."):
    raise ImportError("import onnxplain.clients.demo, not clients.demo")
