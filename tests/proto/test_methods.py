"""The messages of methods.proto are the twins of the declared methods."""

import importlib
import re
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import descriptor_pb2
from grpc_tools import protoc
from onnxplain.graph_rewrites import get_method, list_methods
from onnxplain.proto import codec
from onnxplain.proto.methods_pb2 import MethodSpec

PROTO = Path(codec.__file__).parent
importlib.import_module("onnxplain.explainers")  # declares the methods
METHODS = [method.name for method in list_methods()]

TYPES = {
    np.ndarray: "TYPE_MESSAGE",
    bool: "TYPE_BOOL",
    int: "TYPE_INT",
    float: "TYPE_DOUBLE",
    str: "TYPE_STRING",
}


@pytest.fixture(scope="module")
def comments(tmp_path_factory):
    """Comments of the fields in methods.proto by (message, field)."""
    output = tmp_path_factory.mktemp("descriptors") / "set.pb"
    flags = [f"-Ionnxplain/proto={PROTO}", f"--descriptor_set_out={output}"]
    name = "onnxplain/proto/methods.proto"
    assert protoc.main(["protoc", *flags, "--include_source_info", name]) == 0
    (file,) = descriptor_pb2.FileDescriptorSet.FromString(output.read_bytes()).file
    return {
        (file.message_type[at[1]].name, file.message_type[at[1]].field[at[3]].name): comment
        for location in file.source_code_info.location
        for at, comment in [(tuple(location.path), location.leading_comments)]
        if len(at) == 4 and (at[0], at[2]) == (4, 2)
    }


def test_every_declared_method_has_a_message_and_no_other():
    assert sorted(MethodSpec.DESCRIPTOR.fields_by_name) == METHODS


@pytest.mark.parametrize("name", METHODS)
def test_a_message_has_the_options_of_its_method(name, comments):
    message = MethodSpec.DESCRIPTOR.fields_by_name[name].message_type
    options = {option.name: option for option in get_method(name).options}
    assert set(message.fields_by_name) == set(options)
    for field in message.fields:
        option = options[field.name]
        assert field.has_presence != option.several, field.name
        assert field.is_repeated == option.several, field.name
        assert (field.message_type is not None) == (option.arrays or option.type is np.ndarray)
        if option.choices and not option.colours:
            kind = field.message_type.fields_by_name["name"] if option.arrays else field
            choices = [
                codec.choice_from_enum(kind.enum_type, value.number)
                for value in kind.enum_type.values
                if value.number
            ]
            assert choices == list(option.choices), field.name
        else:
            kind = descriptor_pb2.FieldDescriptorProto.Type.Name(field.type)
            assert kind.startswith(TYPES[option.type]), field.name
        said = re.search(
            r"Default: (\S+?)(?:; range (\S+) to (\S+))?\.\n$", comments[message.name, field.name]
        )
        assert said, field.name
        default, low, high = said.groups()
        assert (None if default == "unset" else option.parse(default)) == option.default
        bounds = (None, None) if low is None else (option.parse(low), option.parse(high))
        assert bounds == (option.minimum, option.maximum), field.name
