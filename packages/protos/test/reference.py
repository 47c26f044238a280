"""Python's protobuf as a second opinion: python3 reference.py FOLDER COMMAND, a JSON value in, one out.

FOLDER has the definitions compiled by protoc from our .proto files.
"""
import base64
import json
import random
import struct
import sys

sys.path.insert(0, sys.argv[1])
from google.protobuf import descriptor_pb2, json_format, symbol_database  # noqa: E402
from hydrosphere import contract_pb2, predict_pb2, tensor_pb2  # noqa: E402
from inference import grpc_service_pb2  # noqa: E402, F401
from invocation.v1 import invocation_pb2  # noqa: E402, F401
from redhare import inference_pb2  # noqa: E402, F401

# dtype: the form of struct, the typed field, how many numbers a value is.
FORMS = {
    'DT_FLOAT': ('f', 'float_val', 1), 'DT_DOUBLE': ('d', 'double_val', 1),
    'DT_INT32': ('i', 'int_val', 1), 'DT_UINT8': ('B', 'int_val', 1),
    'DT_INT16': ('h', 'int_val', 1), 'DT_INT8': ('b', 'int_val', 1),
    'DT_COMPLEX64': ('f', 'scomplex_val', 2), 'DT_INT64': ('q', 'int64_val', 1),
    'DT_BOOL': ('?', 'bool_val', 1), 'DT_QINT8': ('b', 'int_val', 1),
    'DT_QUINT8': ('B', 'int_val', 1), 'DT_QINT32': ('i', 'int_val', 1),
    'DT_BFLOAT16': ('H', 'half_val', 1), 'DT_QINT16': ('h', 'int_val', 1),
    'DT_QUINT16': ('H', 'int_val', 1), 'DT_UINT16': ('H', 'int_val', 1),
    'DT_COMPLEX128': ('d', 'dcomplex_val', 2), 'DT_HALF': ('e', 'half_val', 1),
    'DT_UINT32': ('I', 'uint32_val', 1), 'DT_UINT64': ('Q', 'uint64_val', 1),
}
RANGES = {'i': (-2**31, 2**31 - 1), 'B': (0, 255), 'h': (-2**15, 2**15 - 1), 'b': (-128, 127),
          'q': (-2**63, 2**63 - 1), 'H': (0, 2**16 - 1), 'I': (0, 2**32 - 1), 'Q': (0, 2**64 - 1)}


def encoded(message):
    return base64.b64encode(message.SerializeToString()).decode()


def read_contract(text):
    contract = contract_pb2.ModelContract.FromString(base64.b64decode(text))
    return json_format.MessageToDict(contract, preserving_proto_field_name=True)


def make_contract(value):
    return encoded(json_format.ParseDict(value, contract_pb2.ModelContract()))


def read_request(text):
    request = predict_pb2.PredictRequest.FromString(base64.b64decode(text))
    return json_format.MessageToDict(request, preserving_proto_field_name=True)


def read_messages(messages):
    """Of pairs of a type and its bytes."""
    return [json_format.MessageToDict(message_class(name).FromString(base64.b64decode(text)),
                                      preserving_proto_field_name=True) for name, text in messages]


def make_messages(messages):
    """Of pairs of a type and its fields."""
    return [encoded(json_format.ParseDict(value, message_class(name)())) for name, value in messages]


def message_class(name):
    return symbol_database.Default().GetSymbol(name)


def file_names(texts):
    return [descriptor_pb2.FileDescriptorProto.FromString(base64.b64decode(t)).name for t in texts]


def tensors(options):
    """Random tensors: as a response in each representation, as plain JSON, and their content."""
    source = random.Random(options['seed'])
    return [case(source, dtype) for dtype in FORMS for _ in range(options['each'])]


def case(source, dtype):
    form, field, numbers = FORMS[dtype]
    shape = [source.randint(0, 4) for _ in range(source.randint(0, 3))]
    count = 1
    for size in shape:
        count *= size
    fill = count > 1 and source.random() < 0.2
    values = [number(source, form, dtype) for _ in range(numbers * (1 if fill else count))]
    content = tensor_pb2.TensorProto(dtype=dtype)
    typed = tensor_pb2.TensorProto(dtype=dtype)
    for tensor in (content, typed):
        tensor.tensor_shape.SetInParent()
        for size in shape:
            tensor.tensor_shape.dim.add(size=size)
    raw = b''.join(struct.pack('<' + form, value) for value in values)
    content.tensor_content = raw * (count if fill else 1)
    if dtype == 'DT_HALF':
        typed.half_val.extend(struct.unpack('<%dH' % len(values), raw))
    else:
        getattr(typed, field).extend(values)
    plain = [plain_number(value, form, dtype) for value in values]
    if numbers == 2:
        plain = [plain[at:at + 2] for at in range(0, len(plain), 2)]
    return {
        'dtype': dtype, 'shape': shape, 'json': json.dumps(nest(plain * (count if fill else 1), shape)),
        'content': content.tensor_content.hex(), 'responses': [response(content), response(typed)],
    }


def number(source, form, dtype):
    if form in RANGES:
        low, high = RANGES[form]
        if dtype == 'DT_BFLOAT16':
            return struct.unpack('<HH', struct.pack('<f', number(source, 'f', '')))[1]
        return source.choice([low, high, source.randint(low, high), source.randint(max(low, -9), 9)])
    if form == '?':
        return source.random() < 0.5
    special = source.choice([float('nan'), float('inf'), float('-inf'), 0.0, 1.0])
    value = source.choice([special, source.uniform(-10, 10), source.gauss(0, 1) * 1000])
    return struct.unpack('<' + form, struct.pack('<' + form, value))[0]


def plain_number(value, form, dtype):
    if dtype == 'DT_BFLOAT16':
        value = struct.unpack('<f', struct.pack('<HH', 0, value))[0]
    if isinstance(value, float):
        if value != value:
            return 'NaN'
        return {float('inf'): 'Infinity', float('-inf'): '-Infinity'}.get(value, value)
    return value if form not in 'qQ' or abs(value) < 2**53 else str(value)


def nest(values, shape):
    if not shape:
        return values[0]
    size = len(values) // shape[0] if shape[0] else 0
    return [nest(values[at * size:(at + 1) * size], shape[1:]) for at in range(shape[0])]


def response(tensor):
    message = predict_pb2.PredictResponse()
    message.outputs['x'].CopyFrom(tensor)
    return encoded(message)


json.dump(globals()[sys.argv[2]](json.load(sys.stdin)), sys.stdout)
