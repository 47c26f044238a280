"""Calls of a Python client through the gateway: python_client.py DEFINITIONS ADDRESS MODEL. Prints what it found as JSON."""
import json
import struct
import sys

import grpc

definitions, address, model = sys.argv[1:]
sys.path.insert(0, definitions)
from google.protobuf import empty_pb2  # noqa: E402
from hydrosphere import predict_pb2, tensor_pb2  # noqa: E402
from services import prediction_service_pb2_grpc as service_grpc  # noqa: E402

# name: (number, the field of its values, the format of one element, two values)
kinds = {
    "float": (1, "float_val", "<f", [1.5, -2.25]),
    "double": (2, "double_val", "<d", [1e300, -0.5]),
    "int32": (3, "int_val", "<i", [-(2**31), 7]),
    "uint8": (4, "int_val", "<B", [255, 0]),
    "int16": (5, "int_val", "<h", [-(2**15), 3]),
    "int8": (6, "int_val", "<b", [-128, 127]),
    "complex64": (8, "scomplex_val", "<ff", [1.0, 2.0, 3.0, -4.0]),
    "int64": (9, "int64_val", "<q", [-(2**63), 2**63 - 1]),
    "bool": (10, "bool_val", "<?", [True, False]),
    "qint8": (11, "int_val", "<b", [-5, 5]),
    "quint8": (12, "int_val", "<B", [5, 250]),
    "qint32": (13, "int_val", "<i", [-6, 6]),
    "bfloat16": (14, "half_val", "<H", [0x3FC0, 0xC010]),
    "qint16": (15, "int_val", "<h", [-7, 7]),
    "quint16": (16, "int_val", "<H", [8, 65535]),
    "uint16": (17, "int_val", "<H", [9, 65535]),
    "complex128": (18, "dcomplex_val", "<dd", [1.0, 2.0, 3.0, -4.0]),
    "half": (19, "half_val", "<H", [0x3E00, 0xC080]),
    "uint32": (22, "uint32_val", "<I", [2**32 - 1, 0]),
    "uint64": (23, "uint64_val", "<Q", [2**64 - 1, 1]),
}


def tensor(number, shape):
    made = tensor_pb2.TensorProto(dtype=number)
    if shape is not None:
        for size in shape:
            made.tensor_shape.dim.add(size=size)
        made.tensor_shape.SetInParent()
    return made


def typed(kind):
    number, field, _, values = kinds[kind]
    made = tensor(number, [2])
    getattr(made, field).extend(values)
    return made


def packed(kind):
    number, _, form, values = kinds[kind]
    made = tensor(number, [2])
    width = len(form) - 1
    rows = [values[at : at + width] for at in range(0, len(values), width)]
    made.tensor_content = b"".join(struct.pack(form, *row) for row in rows)
    return made


def filled(kind):
    number, field, form, values = kinds[kind]
    made = tensor(number, [2])
    getattr(made, field).extend(values[: len(form) - 1])
    return made


def request(make, order=None):
    asked = predict_pb2.PredictRequest()
    asked.model_spec.name = model
    for kind in kinds:
        asked.inputs[kind].CopyFrom(make(kind))
    text = tensor(7, [2])
    text.string_val.extend([b"text", b"\xff\x00"])
    asked.inputs["string"].CopyFrom(text)
    said = tensor(7, [])
    said.string_val.append(json.dumps(order or {}).encode())
    asked.inputs["order"].CopyFrom(said)
    return asked


options = [("grpc.max_receive_message_length", -1)]
channel = grpc.insecure_channel(address, options=options)
stub = service_grpc.PredictionServiceStub(channel)
found = {}


def refused(name, asked, timeout=30):
    try:
        stub.Predict(asked, timeout=timeout)
        found[name] = "answered"
    except grpc.RpcError as error:
        found[name] = f"{error.code().name}: {error.details()}"


for name, make in (("typed", typed), ("packed", packed), ("filled", filled)):
    asked = request(make)
    answer = stub.Predict(asked, timeout=120)
    found[name] = sorted(k for k in asked.inputs if answer.outputs[k] != asked.inputs[k])

found["status"] = stub.Status(empty_pb2.Empty(), timeout=10).status

unknown = request(typed)
unknown.model_spec.name = "nobody"
refused("unknown model", unknown)
version = request(typed)
version.model_spec.version.value = 99
refused("unknown version", version)
missing = request(typed)
del missing.inputs["int8"]
refused("missing input", missing)
other = request(typed)
other.inputs["more"].CopyFrom(typed("bool"))
refused("unknown input", other)
wrong = request(typed)
wrong.inputs["float"].dtype = 2
refused("wrong type", wrong)
rank = request(typed)
rank.inputs["float"].tensor_shape.dim.add(size=1)
refused("wrong shape", rank)
shapeless = request(typed)
shapeless.inputs["float"].ClearField("tensor_shape")
found["no shape"] = stub.Predict(shapeless, timeout=30).outputs["float"].HasField("tensor_shape")
for code in (3, 5, 8, 9, 13, 14):
    refused(f"code {code}", request(typed, {"code": code}))
refused("deadline", request(typed, {"sleep_s": 20}), timeout=0.5)
cancelled = stub.Predict.future(request(typed, {"sleep_s": 20}), timeout=30)
cancelled.cancel()
found["cancelled"] = cancelled.cancelled()
garbage = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
for name, message in (("garbage", b"\xff" * 40), ("cut", request(typed).SerializeToString()[:-3])):
    try:
        garbage(message, timeout=30)
        found[name] = "answered"
    except grpc.RpcError as error:
        found[name] = error.code().name
found["after all"] = sorted(stub.Predict(request(typed), timeout=30).outputs) == sorted(asked.inputs)
print(json.dumps(found))
