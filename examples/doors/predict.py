import os

import grpc
from hydrosphere import predict_pb2, tensor_pb2
from services import prediction_service_pb2_grpc

channel = grpc.insecure_channel(os.getenv("GRPC_ADDRESS", "127.0.0.1:8500"))
request = predict_pb2.PredictRequest()
request.model_spec.name = "iris"
measurements = request.inputs["measurements"]
measurements.dtype = tensor_pb2.DT_FLOAT
for size in (1, 4):
    measurements.tensor_shape.dim.add(size=size)
measurements.float_val.extend([5.1, 3.5, 1.4, 0.2])
answer = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(
    request, metadata=[("authorization", "Bearer " + os.environ["API_KEY"])]
)
print(answer.outputs["species"].string_val[0].decode())
