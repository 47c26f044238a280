"""python3 client.py HOST:PORT SEPAL_LENGTH SEPAL_WIDTH PETAL_LENGTH PETAL_WIDTH; the model is `iris`.

PYTHONPATH has the definitions compiled by protoc: see ../runtime-server/README.md.
"""
import os
import struct
import sys

import grpc
from hydrosphere import predict_pb2, tensor_pb2
from services import prediction_service_pb2_grpc

address, *measurements = sys.argv[1:]
request = predict_pb2.PredictRequest()
request.model_spec.name = 'iris'
tensor = request.inputs['measurements']
tensor.dtype = tensor_pb2.DT_FLOAT
for size in (1, 4):
    tensor.tensor_shape.dim.add(size=size)
tensor.float_val.extend(float(value) for value in measurements)

key = os.environ.get('API_KEY')
metadata = [('authorization', f'Bearer {key}')] if key else []
with grpc.insecure_channel(address) as channel:
    service = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    outputs = service.Predict(request, timeout=30, metadata=metadata).outputs

content = outputs['probabilities'].tensor_content
probabilities = struct.unpack(f'<{len(content) // 4}f', content)
print(outputs['species'].string_val[0].decode(), *(f'{value:.3f}' for value in probabilities))
