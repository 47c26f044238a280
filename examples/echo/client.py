"""python3 client.py HOST:PORT TEXT…; the model is `echo`. It ends with 1 when something else comes back.

PYTHONPATH has the definitions compiled by protoc: see ../runtime-server/README.md.
"""
import os
import sys

import grpc
from hydrosphere import predict_pb2, tensor_pb2
from services import prediction_service_pb2_grpc

address, *texts = sys.argv[1:]
request = predict_pb2.PredictRequest()
request.model_spec.name = 'echo'


def add(name, dtype, field, values, shape):
    tensor = request.inputs[name]
    tensor.dtype = dtype
    tensor.tensor_shape.SetInParent()
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    getattr(tensor, field).extend(values)


add('numbers', tensor_pb2.DT_FLOAT, 'float_val', [0.5, float('inf')], [2])
add('ids', tensor_pb2.DT_INT64, 'int64_val', [2**63 - 1], [1])
add('texts', tensor_pb2.DT_STRING, 'string_val', [text.encode() for text in texts], [len(texts)])
add('flag', tensor_pb2.DT_BOOL, 'bool_val', [True], [])

key = os.environ.get('API_KEY')
metadata = [('authorization', f'Bearer {key}')] if key else []
with grpc.insecure_channel(address) as channel:
    service = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    outputs = service.Predict(request, timeout=30, metadata=metadata).outputs

print(*(text.decode() for text in outputs['texts'].string_val))
sys.exit(0 if dict(outputs) == dict(request.inputs) else 1)
