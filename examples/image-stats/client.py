"""python3 client.py HOST:PORT FILE.png; the model is `image-stats`.

PYTHONPATH has the definitions compiled by protoc: see ../runtime-server/README.md.
"""
import os
import struct
import sys

import grpc
from hydrosphere import predict_pb2, tensor_pb2
from services import prediction_service_pb2_grpc

address, path = sys.argv[1:]
request = predict_pb2.PredictRequest()
request.model_spec.name = 'image-stats'
tensor = request.inputs['image']
tensor.dtype = tensor_pb2.DT_STRING
tensor.tensor_shape.SetInParent()
with open(path, 'rb') as file:
    tensor.string_val.append(file.read())

key = os.environ.get('API_KEY')
metadata = [('authorization', f'Bearer {key}')] if key else []
with grpc.insecure_channel(address) as channel:
    service = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    outputs = service.Predict(request, timeout=30, metadata=metadata).outputs


def numbers(name, form):
    content = outputs[name].tensor_content
    return [round(value, 3) for (value,) in struct.iter_unpack(f'<{form}', content)]


print(*numbers('width', 'i'), *numbers('height', 'i'))
for channel in zip(outputs['channels'].string_val, numbers('mean', 'f'), numbers('deviation', 'f'),
                   numbers('minimum', 'i'), numbers('maximum', 'i')):
    print(channel[0].decode(), *channel[1:])
