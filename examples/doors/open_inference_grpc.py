import os

import grpc
from inference import grpc_service_pb2 as oip
from inference import grpc_service_pb2_grpc as oip_grpc

channel = grpc.insecure_channel(os.getenv("GRPC_ADDRESS", "127.0.0.1:8500"))
request = oip.ModelInferRequest(
    model_name="iris",
    outputs=[oip.ModelInferRequest.InferRequestedOutputTensor(name="species")],
)
measurements = request.inputs.add(name="measurements", datatype="FP32", shape=[1, 4])
measurements.contents.fp32_contents.extend([5.1, 3.5, 1.4, 0.2])
answer = oip_grpc.GRPCInferenceServiceStub(channel).ModelInfer(
    request, metadata=[("authorization", "Bearer " + os.environ["API_KEY"])]
)
# A text in bytes is its length in four bytes, and it.
print(answer.raw_output_contents[0][4:].decode())
