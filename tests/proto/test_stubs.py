"""The committed stubs are what the .proto files say, and the files are what buf would accept."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from grpc_tools import protoc
from onnxplain.proto import codec, generate

PROTO = Path(codec.__file__).parent
SOURCES = sorted(path.name for path in PROTO.glob("*.proto"))


def test_the_committed_stubs_are_up_to_date(tmp_path):
    fresh = {path.name: path.read_text() for path in generate.generate(tmp_path)}
    committed = {path.name: path.read_text() for path in PROTO.glob("*_pb2*")}
    assert sorted(fresh) == sorted(committed)
    changed = [name for name in fresh if fresh[name] != committed[name]]
    assert not changed, "run make proto"


def test_the_name_proto_is_left_to_proto_plus():
    assert not (PROTO / "__init__.py").exists()
    code = "import proto; assert proto.Message.__module__.startswith('proto.'), proto"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PROTO.parent)


if SYSTEM_PROTOC := shutil.which("protoc"):  # a check for machines that have one, such as Debian's

    def test_the_files_compile_with_the_protoc_of_the_system(tmp_path):
        names = [f"onnxplain/proto/{name}" for name in SOURCES]
        flags = [f"-Ionnxplain/proto={PROTO}", f"--cpp_out={tmp_path}"]
        subprocess.run([SYSTEM_PROTOC, *flags, *names], check=True, cwd=tmp_path)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    output = tmp_path_factory.mktemp("descriptors") / "set.pb"
    flags = [f"-Ionnxplain/proto={PROTO}", f"--descriptor_set_out={output}"]
    names = [f"onnxplain/proto/{name}" for name in SOURCES]
    assert protoc.main(["protoc", *flags, "--include_source_info", *names]) == 0
    return descriptor_pb2.FileDescriptorSet.FromString(output.read_bytes()).file


def declarations(message, path=()):
    """Every named thing inside a descriptor with its path into the source info."""
    fields = {
        descriptor_pb2.FileDescriptorProto: {4: "message_type", 5: "enum_type", 6: "service"},
        descriptor_pb2.DescriptorProto: {2: "field", 3: "nested_type", 8: "oneof_decl"},
        descriptor_pb2.EnumDescriptorProto: {2: "value"},
        descriptor_pb2.ServiceDescriptorProto: {2: "method"},
    }.get(type(message), {})
    for number, name in fields.items():
        for position, child in enumerate(getattr(message, name)):
            if getattr(child, "options", None) and getattr(child.options, "map_entry", False):
                continue
            yield child, (*path, number, position)
            yield from declarations(child, (*path, number, position))


def test_every_declaration_is_documented(files):
    for file in files:
        comments = {
            tuple(location.path): location.leading_comments.strip()
            for location in file.source_code_info.location
        }
        missing = [
            child.name
            for child, path in declarations(file)
            if not comments.get(path) and not child.name.startswith("_")  # _x: of optional x
        ]
        assert not missing, file.name


def test_enums_start_unspecified_and_carry_their_prefix(files):
    for enum in (enum for file in files for enum in file.enum_type):
        prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", enum.name).upper() + "_"
        assert enum.value[0].name == prefix + "UNSPECIFIED"
        assert all(value.name.startswith(prefix) for value in enum.value)


def test_every_call_has_messages_of_its_own(files):
    services = [service for file in files for service in file.service]
    assert sorted(service.name for service in services) == ["CatalogService", "ExplainService"]
    used = []
    for call in (call for service in services for call in service.method):
        assert call.input_type == f".onnxplain.v1.{call.name}Request"
        assert call.output_type == f".onnxplain.v1.{call.name}Response"
        used += [call.input_type, call.output_type]
    assert len(used) == len(set(used))
    assert {file.package for file in files} == {"onnxplain.v1"}
