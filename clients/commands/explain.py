"""``onnxplain explain``: pictures in, heatmaps out, in this process or on a server."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .answers import Answer, local_answers, remote_answers
from .environment import Environment, ExitCode
from .failures import describe, exit_code
from .method_options import (
    add_method_arguments,
    declared_methods,
    given_options,
    parse_options,
)
from .model_arguments import MODEL_HELP, add_model_arguments, given_remote
from .output_files import OutputFiles, UsageError
from .target_arguments import count_targets, read_targets, spelled

if TYPE_CHECKING:
    from onnxplain.graph_rewrites import Method

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this command."""
    parser.usage = "%(prog)s MODEL.onnx IMAGE [IMAGE ...] [--method NAME] [option ...]"
    parser.add_argument(
        "model", metavar="MODEL.onnx", help=f"{MODEL_HELP}; with --server, its name there"
    )
    parser.add_argument(
        "images",
        metavar="IMAGE",
        nargs="+",
        help="a picture, a .npy array that is the model's own input, or - for stdin",
    )
    parser.add_argument(
        "--target",
        action="append",
        metavar="N|LABEL|topK|N:WEIGHT,...",
        help="what to explain: a class by its number or its label, the K most likely, or classes "
        "with weights for the weighted sum of their scores, such as 281:1,282:-1 for what speaks "
        "for 281 rather than 282 (a label that reads like one of these: by its number); may be "
        "repeated (default: top1)",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT.png",
        help="draw the heatmap over the picture; for several results a folder, or a pattern "
        "with {image} {n} {method} {target} {layer}",
    )
    parser.add_argument(
        "--array",
        metavar="OUT.npy",
        help="write the heatmap as float32 [H, W]; OUT.npz: every array of the result",
    )
    parser.add_argument(
        "--show",
        type=int,
        metavar="N",
        help="with -o, draw the N segments that speak most for the class as they are in the "
        "picture, and the rest of it faded, for methods that weigh segments",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--time-budget",
        type=float,
        metavar="SECONDS",
        help="for methods that take samples: end after so long, for each picture, with the map of "
        "the samples so far",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="FILE.npz",
        help="for sensitivity of one picture: keep what is measured in this file, and go on from "
        "it when it is there, as after Ctrl-C",
    )
    add_model_arguments(parser)
    parser.add_argument("--server", metavar="HOST:PORT", help="ask this server")
    parser.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="with --server, give up after this long"
    )
    add_method_arguments(parser, declared_methods())


def run(arguments: argparse.Namespace, environment: Environment) -> ExitCode:
    """Explain every picture, write the files asked for, print what was found."""
    from onnxplain.graph_rewrites import get_method

    _check_place(arguments)
    method = get_method(arguments.method)
    options = parse_options(method, given_options(arguments))
    _check_show(arguments, method)
    target = read_targets(arguments.target)
    layers = options.get("layer")
    files = _files(arguments, target, layers if isinstance(layers, list) else [])
    explain = remote_answers if arguments.server else local_answers
    reports: list[dict[str, Any]] = []
    worst = ExitCode.OK
    with explain(arguments, environment) as answers_of:
        for numbers in _together(method, len(arguments.images)):
            given = [arguments.images[n] for n in numbers]
            try:
                answers = answers_of(_inputs(given, environment), method.name, target, options)
            except Exception as error:
                code = exit_code(error)
                if len(given) == len(arguments.images) or code is ExitCode.INTERNAL:
                    raise
                environment.say(f"onnxplain: error: {given[0]}: {describe(error, code)}")
                worst = max(worst, code)
                continue
            each = len(answers) // len(numbers)
            for place, answer in enumerate(answers):
                n = numbers[place // each]
                reports.append(_written(answer, arguments.images[n], n, files))
    _report(reports, arguments, environment)
    return worst


def _check_place(arguments: argparse.Namespace) -> None:
    """Refuse flags that would be without effect."""
    if arguments.server and (arguments.provider != "auto" or arguments.threads):
        raise UsageError("--provider and --threads are the server's own: leave them out here")
    if arguments.server and given_remote(arguments):
        raise UsageError(
            "what is said of models on other servers is the server's own: leave it out"
        )
    if arguments.server and arguments.score_output:
        raise UsageError(
            "--score-output is for a model loaded here: the server has chosen each model's output"
        )
    if arguments.checkpoint and (arguments.server or len(arguments.images) > 1):
        raise UsageError("--checkpoint is for one picture explained here, without --server")
    if arguments.timeout and not arguments.server:
        raise UsageError("--timeout is for --server")


def _check_show(arguments: argparse.Namespace, method: Method) -> None:
    from onnxplain.explainers.explanation import check_show

    if arguments.show is not None:
        check_show(arguments.show, method.name, weighs_segments="coefficients" in method.returns)
        if not arguments.output:
            raise UsageError("--show is for the picture: add -o OUT.png")


def _files(
    arguments: argparse.Namespace, target: object, layers: list[str]
) -> dict[str, OutputFiles]:
    asked = {"picture": (arguments.output, [".png"]), "array": (arguments.array, [".npy", ".npz"])}
    return {
        kind: OutputFiles(text, suffixes, arguments.images, count_targets(target), layers)
        for kind, (text, suffixes) in asked.items()
        if text is not None
    }


def _together(method: Method, n_images: int) -> list[range]:
    """Return which pictures are explained by one call: all of them, or each by its own."""
    from onnxplain.graph_rewrites import Inputs

    numbers = range(n_images)
    if method.inputs is Inputs.SINGLY:
        return [numbers[n : n + 1] for n in numbers]
    return [numbers]


def _inputs(images: list[str], environment: Environment) -> dict[str, Any]:
    """Return pictures, or tensors, as the keyword argument they are given by."""
    found = [_input(image, environment) for image in images]
    if len(found) == 1:
        return found[0]
    if all("image" in one for one in found):
        return {"image": [one["image"] for one in found]}
    if any("image" in one for one in found):
        raise UsageError("pictures and .npy arrays are not explained together: give one kind")
    return {"tensor": _stacked([one["tensor"] for one in found], images)}


def _stacked(tensors: list[Any], names: list[str]) -> Any:
    """Return arrays of one input each as the rows of one."""
    import numpy as np

    rows = [array[None] if array.ndim == 3 else array for array in tensors]
    for row, name in zip(rows, names, strict=True):
        if row.ndim != 4 or len(row) != 1 or row.shape != rows[0].shape:
            raise UsageError(
                f"{name} is {list(row.shape)}, {names[0]} {list(rows[0].shape)}: together, "
                "each .npy array holds one input, all of one shape"
            )
    return np.concatenate(rows)


def _input(image: str, environment: Environment) -> dict[str, Any]:
    """Return the picture or tensor as the keyword argument it is given by."""
    if image == "-":
        return {"image": environment.stdin.buffer.read()}
    if Path(image).suffix.lower() == ".npy":
        import numpy as np

        try:
            return {"tensor": np.load(image, allow_pickle=False)}
        except (ValueError, EOFError) as error:
            raise UsageError(f"{image} is not a plain .npy array: {error}") from None
    return {"image": image}


def _written(answer: Answer, image: str, n: int, files: dict[str, OutputFiles]) -> dict[str, Any]:
    """Write the files of one answer; return the answer as a dictionary that names them."""
    report = answer.to_dict()
    target, layer = spelled(report), report["provenance"]["layer"] or ""
    paths = {
        kind: pattern.prepared(n, report["method"], target, layer)
        for kind, pattern in files.items()
    }
    if "picture" in paths:
        paths["picture"].write_bytes(answer.overlay_png())
        if report["profile"]:
            paths["profile"] = _plotted(report["profile"], paths["picture"])
        if n == 0 and answer.summary_png is not None:
            paths["summary"] = files["picture"].prepared_summary(report["method"], target)
            paths["summary"].write_bytes(answer.summary_png())
    if "array" in paths:
        _save(answer, paths["array"])
    return {"image": image} | report | {"files": {kind: str(path) for kind, path in paths.items()}}


def _plotted(profile: dict[str, float], picture: Path) -> Path:
    from onnxplain.explainers.profile_plot import profile_plot

    path = picture.with_stem(f"{picture.stem}_profile")
    profile_plot(profile).save(path)
    return path


def _save(answer: Answer, path: Path) -> None:
    import numpy as np

    if path.suffix.lower() == ".npz":
        np.savez_compressed(path, **answer.arrays)
    else:
        np.save(path, answer.arrays["heatmap"])


def _report(
    reports: list[dict[str, Any]], arguments: argparse.Namespace, environment: Environment
) -> None:
    if arguments.json:
        environment.print_json(reports)
        return
    if not reports:
        return
    columns = {
        "image": [report["image"] for report in reports],
        "method": [report["method"] for report in reports],
        "target": [spelled(report) for report in reports],
        "label": [report["label"] or "" for report in reports],
        "layer": [report["provenance"]["layer"] for report in reports],
        "score": [f"{report['score']:.4g}" for report in reports],
        "ms": [f"{report['milliseconds']:.0f}" for report in reports],
        "file": [" ".join(report["files"].values()) for report in reports],
    }
    if len(set(columns["layer"])) == 1:
        del columns["layer"]
    environment.print_table(list(columns), list(zip(*columns.values(), strict=True)))
    for report in reports:
        _print_profile(report["profile"], environment)
    for line in dict.fromkeys(_warnings(reports)):
        environment.say(line)
    if not arguments.output and not arguments.array:
        environment.say("no picture was written: add -o OUT.png")


def _print_profile(profile: dict[str, float], environment: Environment) -> None:
    """Print the sums of relevance, each with its share of what was distributed."""
    if not profile:
        return
    start = next(iter(profile.values()))
    rows = [
        (tensor, f"{found:.4g}", f"{found / start:.1%}" if start else "")
        for tensor, found in profile.items()
    ]
    environment.print("")
    environment.print_table(["tensor", "relevance", "share"], rows)


def _warnings(reports: list[dict[str, Any]]) -> Iterator[str]:
    for report in reports:
        for warning in report["warnings"]:
            yield f"{report['image']}: {warning['code']}: {warning['message']}"
